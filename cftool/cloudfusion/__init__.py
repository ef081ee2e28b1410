"""The API of the CloudFusion documents, over the stack that the commands use. For new programs: `cftool.api`.

    from cftool.cloudfusion import MetadataCachingStore, TransparentMultiprocessingCachingStore, open_store

    client = MetadataCachingStore(open_store("dropbox:"))
    client = TransparentMultiprocessingCachingStore(client, cache_id="session1")
    client.store_file("/home/me/report.pdf", "/documents")   # returns at once
    client.sync()                                            # returns when it is at Dropbox

`store.Store` has the calls, `caching` the wrappers, `stores` the classes by service, `errors` what is raised.
"""

import os
from collections.abc import Mapping

from cftool import stack
from cftool.cloudfusion.caching import (
    ChunkMultiprocessingCachingStore,
    MetadataCachingStore,
    MultiprocessingCachingStore,
    TransparentChunkMultiprocessingCachingStore,
    TransparentMultiprocessingCachingStore,
)
from cftool.cloudfusion.errors import (
    AlreadyExistsError,
    InterruptedException,
    InvalidPathValueError,
    NoSuchFilesytemObjectError,
    NotSynchronizedError,
    StoreAccessError,
    StoreAutorizationError,
    StoreSpaceLimitError,
    told,
)
from cftool.cloudfusion.store import UNLIMITED, BulkGetMetadata, Metadata, Place, Store, context_of
from cftool.cloudfusion.stores import (
    AmazonStore,
    BulkGetMetadataAmazonStore,
    BulkGetMetadataGoogleStore,
    BulkGetMetadataWebdavStore,
    DropboxStore,
    GoogleDrive,
    GoogleStore,
    LocalHDStore,
    SugarsyncStore,
    WebdavStore,
)
from cftool.cloudfusion.transparent import ExceptionStats, TransparentStore

__all__ = [
    "UNLIMITED",
    "AlreadyExistsError",
    "AmazonStore",
    "BulkGetMetadata",
    "BulkGetMetadataAmazonStore",
    "BulkGetMetadataGoogleStore",
    "BulkGetMetadataWebdavStore",
    "ChunkMultiprocessingCachingStore",
    "DropboxStore",
    "ExceptionStats",
    "GoogleDrive",
    "GoogleStore",
    "InterruptedException",
    "InvalidPathValueError",
    "LocalHDStore",
    "Metadata",
    "MetadataCachingStore",
    "MultiprocessingCachingStore",
    "NoSuchFilesytemObjectError",
    "NotSynchronizedError",
    "Store",
    "StoreAccessError",
    "StoreAutorizationError",
    "StoreSpaceLimitError",
    "SugarsyncStore",
    "TransparentChunkMultiprocessingCachingStore",
    "TransparentMultiprocessingCachingStore",
    "TransparentStore",
    "WebdavStore",
    "open_store",
]


def open_store(address: str, *, config: str | None = None, env: Mapping[str, str] | None = None) -> Store:
    """The store that `address` names: a remote of the configuration, a provider's own name, or a local path.

    `remote:path` is "/" of the store. `config` and `env` as for `cftool.api.open_store`. No request is sent yet.
    Raises StoreAccessError where the address or the configuration is not usable.
    """
    environment = os.environ if env is None else env
    with told():
        place, known = stack.locate(address, env=environment, config_file=config)
        context = context_of(environment)
    return Store(Place(place, known, context))
