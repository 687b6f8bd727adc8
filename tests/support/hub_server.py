"""A Hugging Face hub on this machine: the routes by which files are fetched, and the ways in which that fails.

Run as a program it is a client instead: a JSON list of [class, name, keywords] on stdin, and on stdout for each the sum of
the weights that were loaded, or the error.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

TOKEN = "hf_right"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        hub = self.server
        path = unquote(self.path)
        hub.requests.append((self.command, path, self.headers.get("Authorization")))
        repo, _, rest = path[1:].partition("/resolve/")
        revision, _, file = rest.partition("/")
        authorised = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        kind = hub.kinds.get(repo)
        if kind == "broken" or file in hub.broken_files:
            self.send(500, {}, b"Internal\nServer Error")
        elif kind == "cut" and self.command == "GET":  # hangs up in the middle of the file
            self.send(200, {"ETag": '"cut"', "X-Repo-Commit": "c" * 40}, b"{" * 100, claimed=10_000)
        elif kind == "gated" and not authorised:
            self.send(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": f"Access to model {repo} is restricted"})
        elif kind is None or (kind == "private" and not authorised):
            self.send(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif revision not in hub.files[repo]:
            self.send(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"})
        else:
            commit = hashlib.sha1(f"{repo} {revision}".encode()).hexdigest()
            content = hub.files[repo][revision].get(file)
            if content is None:
                self.send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            else:
                etag = hashlib.sha256(content).hexdigest()
                self.send(200, {"ETag": f'"{etag}"', "X-Repo-Commit": commit}, content)

    def send(self, status, headers, body=b"", claimed=None):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(claimed or len(body))}).items():
            self.send_header(name, value)
        if claimed:
            self.close_connection = True
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Hub(ThreadingHTTPServer):
    """files: repository -> revision -> file -> bytes. kinds: repository -> "public", "private", "gated", "broken", "cut"."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.kinds, self.requests, self.broken_files = {}, {}, [], set()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def add(self, repo, folder, revision="main", kind="public", subfolder=""):
        files = {subfolder + path.name: path.read_bytes() for path in folder.iterdir()}
        self.files.setdefault(repo, {}).setdefault(revision, {}).update(files)
        self.kinds[repo] = kind

    def fetched(self):
        """What was downloaded since the last question."""
        files = [path.rpartition("/")[2] for command, path, _ in self.requests if command == "GET"]
        self.requests.clear()
        return files


def client():
    import albert_np

    time.sleep = lambda _: None  # huggingface_hub tries five times, and waits for 23 seconds in all
    for kind, name, options in json.load(sys.stdin):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # huggingface_hub's own
                model = getattr(albert_np, kind).from_pretrained(name, **options)
            if kind == "AlbertTokenizer":
                print(json.dumps(model("The Capital")["input_ids"]))
                continue
            answer = float(sum(x.sum(dtype="f8") for _, x in model.named_parameters()))
        except Exception as error:
            is_ours = type(error) in (ValueError, OSError)
            answer = f"{'' if is_ours else 'NOT OURS '}{type(error).__name__}: {error}"
        print(json.dumps(answer))
    print(json.dumps("huggingface_hub" in sys.modules))


if __name__ == "__main__":
    client()
