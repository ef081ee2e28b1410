"""The calls of a multipart upload that uploads, copies and `leftovers` share. No state.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html.
"""

from collections.abc import Iterable

from cftool.core.errors import NotFound, ProtocolError
from cftool.http import xml as _xml
from cftool.http.urls import quote_query
from cftool_providers.s3 import _pages
from cftool_providers.s3._service import Service


def upload_id_of(body: bytes, key: str, path: str) -> str:
    """The id in the answer to CreateMultipartUpload (`rclone serve s3` calls its root by the short name)."""
    root = _xml.parse(body, "InitiateMultipartUploadResult", "InitiateMultipartUpload")
    upload_id = root.value("UploadId")
    if not upload_id or root.value("Key") not in {None, key}:
        raise ProtocolError("the service made an upload without an id, or of another key", path=path)
    return upload_id


def complete_body(parts: Iterable[tuple[int, str, str]]) -> bytes:
    """The request of CompleteMultipartUpload from number, ETag as it came, and further elements of each part."""
    rows = "".join(
        [
            f"<Part><PartNumber>{number}</PartNumber><ETag>{_xml.escape(tag)}</ETag>{extra}</Part>"
            for number, tag, extra in parts
        ]
    )
    return (
        f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{rows}</CompleteMultipartUpload>'
    ).encode()


def list_parts(service: Service, bucket: str, key: str, upload_id: str) -> list[_pages.Part]:
    """All stored parts. Raises NotFound where the upload is gone."""
    path = f"{bucket}/{key}"
    found: list[_pages.Part] = []
    marker: str | None = None
    while True:
        pairs = [("uploadId", upload_id)]
        if marker is not None:
            pairs.insert(0, ("part-number-marker", marker))
        response = service.send("GET", "ListParts", bucket, key, query=quote_query(pairs))
        if response.status >= 300:
            raise service.error(response, bucket, path)
        page, following = _pages.parts(response.body, upload_id)
        found += page
        if following is None:
            return found
        if following == marker:
            raise ProtocolError("the list of parts does not come to an end", path=path)
        marker = following


def abort(service: Service, bucket: str, key: str, upload_id: str, path: str) -> None:
    """AbortMultipartUpload; one that is gone is no error."""
    query = quote_query([("uploadId", upload_id)])
    response = service.send("DELETE", "AbortMultipartUpload", bucket, key, query=query)
    if response.status >= 300:
        error = service.error(response, bucket, path)
        if not isinstance(error, NotFound):
            raise error
