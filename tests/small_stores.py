"""Finished stages of a few kilobytes with sound keys, for the tests of copies between stores; and servers of S3 and GS on this machine."""

import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from w2s_cli.store import keys
from w2s_cli.store import publishing as publish
from w2s_cli.store.store import Store

BUCKET = "shared"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


def add_stage(
    root: Path,
    kind: str,
    name: str,
    files: Mapping[str, bytes],
    *,
    inputs: Mapping[str, str] | None = None,
    **params: Any,
) -> str:
    """A finished stage, as a worker publishes it; returns its key."""
    ident = keys.identity(kind, 1, {"name": name, **params}, inputs or {})
    folder = Store(root).prepare(ident, name=name, slug=name, execution={"folders": ["/home/other"]})
    for path, content in files.items():
        (folder / "result.tmp" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "result.tmp" / path).write_bytes(content)
    key = keys.stage_key(ident)
    record = {"run": f"run-{name}", "key": key, "kind": kind, "name": name, "gives": None, "inputs": {}}
    publish.publish(folder, {"accuracy": 0.5}, record)
    return key


def chain(root: Path) -> dict[str, str]:
    """rows → model → labels, and a stage beside them; name → key."""
    rows = add_stage(root, "rows", "train", {"rows.parquet": b"r" * 100})
    weights = {"model/model.safetensors": b"w" * 3000, "model/config.json": b"{}"}
    model = add_stage(root, "finetune", "student", weights, inputs={"rows": rows})
    labels = add_stage(root, "label", "labels", {"labels.parquet": b"l" * 50}, inputs={"model": model, "rows": rows})
    other = add_stage(root, "rows", "other", {"rows.parquet": b"o" * 10})
    return {"rows": rows, "model": model, "labels": labels, "other": other}


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The address of a fresh S3 server with an empty bucket."""
    import s3fs
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    address = f"http://127.0.0.1:{port}"
    try:
        urlopen(Request(f"{address}/moto-api/reset", method="POST"))  # all servers of a process share their buckets
        secrets = {"key": CREDENTIALS["AWS_ACCESS_KEY_ID"], "secret": CREDENTIALS["AWS_SECRET_ACCESS_KEY"]}
        s3fs.S3FileSystem(endpoint_url=address, skip_instance_cache=True, **secrets).mkdir(BUCKET)
        yield address
    finally:
        server.stop()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket on this machine; the environment has its credentials, as a user's has."""
    with s3_server() as address:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        forget_connections()
        yield f"s3://{BUCKET}"
        forget_connections()


def forget_connections() -> None:
    """fsspec keeps a client for each set of arguments, and the address is in the environment."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


@contextlib.contextmanager
def gs_server() -> Iterator[str]:
    """The address of a server of Google's storage with an empty bucket, in memory."""
    from gcp_storage_emulator.server import create_server

    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    with create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET) as server:
        yield f"http://127.0.0.1:{server._api._httpd.server_port}"


@pytest.fixture
def gs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty bucket on this machine; nothing leads to a user's credentials, and no machine of Google is asked for some."""
    gcsfs = pytest.importorskip("gcsfs", reason="the extra gs is not installed")
    pytest.importorskip("gcp_storage_emulator", reason="the package gcp-storage-emulator is not installed")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no-login"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with gs_server() as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        gcsfs.GCSFileSystem.clear_instance_cache()
        yield f"gs://{BUCKET}"
        gcsfs.GCSFileSystem.clear_instance_cache()


def hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Let a package count as not installed."""
    find = importlib.util.find_spec
    without = lambda name, *words: None if name == package else find(name, *words)  # noqa: E731 - stands for find_spec
    monkeypatch.setattr(importlib.util, "find_spec", without)


def content(root: Path) -> dict[str, bytes]:
    """Path → bytes of every file of the finished stages' results."""
    return {
        os.path.relpath(path, root): path.read_bytes()
        for path in sorted(root.glob("stages/*/*/result/**/*"))
        if path.is_file()
    }
