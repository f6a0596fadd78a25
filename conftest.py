"""Tests draw no progress bars and work with one thread, which is fastest for networks this small."""

import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from ctsl_lib.data.specs import DATA_SETS
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.objective import BUILT_IN, REGISTERED
from ctsl_lib.metrics.evaluation import METRICS
from ctsl_lib.models.registry import HOME, NETWORKS

os.environ["CTSL_PROGRESS"] = "0"
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests come first: with several processes, no long one is left over for the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty folder for records."""
    return Store(tmp_path / "records")


class _Handler(SimpleHTTPRequestHandler):
    """Serves files. FILE.to holds the address to go to instead; FILE.cut breaks off in its middle."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer one request."""
        path = self.translate_path(self.path)
        moved, cut = Path(f"{path}.to"), Path(f"{path}.cut")
        if moved.exists():
            self.send_response(302)
            self.send_header("Location", moved.read_text())
            self.end_headers()
        elif cut.exists():
            content = cut.read_bytes()
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n" % len(content) + content[: len(content) // 2])
        else:
            super().do_GET()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate, with its key, for a server on this machine."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(path)]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    made = ["-x509", *key, *name, "-out", str(path.with_suffix(".crt"))]
    subprocess.run(["openssl", "req", *made], check=True, capture_output=True)
    with path.open("a") as both:
        both.write(path.with_suffix(".crt").read_text())
    return path


@pytest.fixture
def server(tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A web server for the folder `web`, over https, with a certificate that clients trust."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    (tmp_path / "web").mkdir()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(tmp_path / "web"))) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{running.server_port}", tmp_path / "web"
        running.shutdown()


@pytest.fixture(autouse=True)
def examples_leave_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take out again what the examples in docstrings register under a name."""
    registries = (DATA_SETS, REGISTERED, NETWORKS, METRICS)
    before = [set(registry) for registry in registries]
    yield
    if isinstance(request.node, pytest.DoctestItem):
        for registry, names in zip(registries, before, strict=True):
            for name in (
                set(registry) - names - {*HOME, *BUILT_IN}
            ):  # the kit's own may have been imported meanwhile
                del registry[name]
