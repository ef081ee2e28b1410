"""HTTP for the providers: one Transport interface, two implementations, and one policy of retry, pacing and redaction.

Providers use `client.Client`; nothing outside this package sees a socket, pycurl or requests.
"""
