"""Starts and stops a real service, a proxy and a browser, and collects what its console reports."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"


class Service:
    """A service on a free port with its own folder."""

    def __init__(self, program, model, keys=None):
        self.program, self.model, self.keys = program, model, keys or {}
        self.folder = Path(tempfile.mkdtemp(prefix="scihcgrl-page-"))
        self.start("127.0.0.1:0")

    def start(self, address):
        arguments = ["serve", "--addr", address, "--device", "cpu", "--data-dir", self.folder / "data", "--model", self.model]
        variables = {f"SCIHCGRL_{role}_KEYS": key for role, key in self.keys.items()}
        log = open(self.folder / "log", "a", encoding="utf-8")
        self.process = subprocess.Popen([self.program, *arguments], stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | variables)
        line = self.process.stdout.readline()
        found = re.search(r"http://(\S+)", line)
        if not found:
            raise SystemExit(f"the service did not start: {(self.folder / 'log').read_text(encoding='utf-8')[-500:]}")
        self.address, self.url = found[1], found[0]

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def restart(self):
        """Starts it again at the same address."""
        self.start(self.address)

    def store(self, folder):
        key = {"SCIHCGRL_KEY": self.keys["WRITE"]} if self.keys else {}
        arguments = ["index", folder, "--url", self.url]
        subprocess.run([self.program, *arguments], check=True, capture_output=True, env=os.environ | key)

    def end(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)


class Proxy:
    """nginx with a service under /photos/ by a plain proxy_pass, which sets the Host header to the
    service's address."""

    CONFIGURATION = """
        daemon off; {user} worker_processes 1; pid {folder}/pid; error_log {folder}/log;
        events {{}}
        http {{
            access_log off; client_max_body_size 30m;
            client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
            server {{ listen 127.0.0.1:{port}; location /photos/ {{ proxy_pass {service}/; }} }}
        }}
    """

    def __init__(self, service):
        nginx = shutil.which("nginx") or ROOT / ".proxy/usr/sbin/nginx"
        self.folder = Path(tempfile.mkdtemp(prefix="scihcgrl-proxy-"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        user = "user root;" if os.geteuid() == 0 else ""
        text = self.CONFIGURATION.format(folder=self.folder, port=port, service=service.url, user=user)
        (self.folder / "nginx.conf").write_text(text, encoding="utf-8")
        self.process = subprocess.Popen([nginx, "-p", self.folder, "-e", self.folder / "log", "-c", self.folder / "nginx.conf"])
        self.url = f"http://localhost:{port}/photos"
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            except ConnectionRefusedError:
                assert time.monotonic() < end, (self.folder / "log").read_text(encoding="utf-8")
                time.sleep(0.05)

    def end(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)


class Console:
    """Collects a browser's errors, exceptions and violations of the page's own policy."""

    def __init__(self, context):
        self.complaints = []
        context.on("console", lambda message: message.type in ("error", "warning") and self.complaints.append(message.text))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        # Not every version reports violations in the console.
        context.add_init_script("addEventListener('securitypolicyviolation', (event) => console.error(`forbidden: ${event.violatedDirective}`))")

    def check(self, refusals):
        """Fails on any complaint. If the service refuses something or stops, the browser's own line
        about it is allowed."""
        is_refusal = re.compile(r"^Failed to load resource: (the server responded with a status of (4\d\d|503)|net::ERR_)")
        wrong = [text for text in self.complaints if not (refusals and is_refusal.match(text))]
        assert not wrong, f"the console reports {wrong}"
        self.complaints.clear()


def until(page, expression, seconds=10):
    """Waits until an expression is true in the page. Playwright's own way makes the page evaluate a
    string, which the policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        time.sleep(0.02)


@contextmanager
def browser():
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        raise SystemExit("no Chromium found; `make browser` installs Debian's, or set CHROMIUM")
    # Containers have little shared memory, and Chromium refuses its sandbox to root.
    arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield started
        started.close()
