"""Stores of objects as file systems: Arrow's for s3:// and gs://, which is installed, else what fsspec registers.

s3fs is not used: its botocore asks for a python-dateutil below 3, which nothing else here does.
"""

from __future__ import annotations

import functools
import os
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from ecg_hub.errors import InputError, RemoteError

WHERE_CREDENTIALS = (
    "Credentials are taken from the usual places: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL), "
    "~/.aws, the role of the machine, GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN; AWS_NO_SIGN_REQUEST=1 and "
    "GS_NO_SIGN_REQUEST=1 read public buckets without any"
)
_GIVEN_UP = timedelta(seconds=60)  # of one request to Google's storage; Arrow would go on for a quarter of an hour


def opened(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it."""
    scheme, below = url.split("://", 1)
    bucket = below.partition("/")[0]
    return _filesystem(scheme, bucket, _server(scheme)), ("/" + below if scheme == "memory" else below)


def stem(scheme: str) -> str:
    """Return the folder of a scheme; buckets of the same name on another server have another."""
    server = _server(scheme)
    return f"{scheme}@{urlsplit(server).netloc.replace(':', '-')}" if server else scheme


def unreachable(url: str, error: Exception) -> RemoteError:
    """Return the error of a URL that does not answer or lets nobody in."""
    said = " ".join(str(error).split())[:300] or type(error).__name__
    return RemoteError(f"{url!r} cannot be reached: {said}. {WHERE_CREDENTIALS}; the same command goes on.")


def _server(scheme: str) -> str:
    """The address that is asked instead of Amazon's or Google's, by the variables that their own libraries read."""
    if scheme in ("s3", "s3a"):
        return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    if scheme in ("gs", "gcs"):
        address = os.environ.get("STORAGE_EMULATOR_HOST") or os.environ.get("CLOUD_STORAGE_EMULATOR_ENDPOINT") or ""
        return address if "://" in address or not address else f"http://{address}"
    return ""


@functools.lru_cache
def _filesystem(scheme: str, bucket: str, server: str) -> Any:
    import fsspec

    try:
        if scheme in ("s3", "s3a"):
            return _arrow_s3(bucket, server)
        if scheme in ("gs", "gcs"):
            return _arrow_gcs(server)
        return fsspec.filesystem(scheme)
    except ImportError as error:
        # fsspec says which package reads this scheme.
        raise RemoteError(f"{scheme}:// needs a package that is not installed: {error}") from error
    except ValueError as error:
        known = "s3://, gs://, hf://, and any scheme of fsspec"
        raise InputError(f"Nobody knows the scheme of '{scheme}://{bucket}' ({error}); known: {known}.") from error
    except OSError as error:
        raise unreachable(f"{scheme}://{bucket}", error) from error


def _arrow_s3(bucket: str, server: str) -> Any:
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import S3FileSystem, resolve_s3_region

    stated = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    # A server of one's own has no regions; of Amazon's, each bucket lies in one.
    region = stated or ("us-east-1" if server else resolve_s3_region(bucket))
    # Delayed: a small file is then one request and not three.
    more = {"allow_delayed_open": True, "connect_timeout": 10, "request_timeout": 60, **_instead(server)}
    return ArrowFSWrapper(S3FileSystem(anonymous=_is_set("AWS_NO_SIGN_REQUEST"), region=region, **more))


def _arrow_gcs(server: str) -> Any:
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import GcsFileSystem

    # An emulator knows no credentials, and to look for them takes a request to Google.
    anonymous = bool(server) or _is_set("GS_NO_SIGN_REQUEST")
    return ArrowFSWrapper(GcsFileSystem(anonymous=anonymous, retry_time_limit=_GIVEN_UP, **_instead(server)))


def _instead(server: str) -> dict[str, Any]:
    """Arrow's words for a server that is asked instead of the usual one."""
    parts = urlsplit(server)
    return {"endpoint_override": parts.netloc, "scheme": parts.scheme} if server else {}


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "on")
