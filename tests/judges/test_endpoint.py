"""A judge behind an endpoint: what is asked, kept, limited and told; and a real server with the embedded model."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import openai
import pandas as pd
import pytest

from preference_study.artifacts import read_json, write_json, write_table
from preference_study.errors import BadInput, BadParams
from preference_study.judges.endpoint import (
    append,
    ask_all,
    asker,
    for_first,
    read_asked,
    read_key,
    request,
    request_key,
    without_key,
)
from tests.conftest import ROOT, asked
from tests.workspace import change, tiny_params

SECRET = 'sk-"ultra\\secret'
SETTINGS = {
    "name": "provider", "kind": "endpoint", "base_url": "http://localhost:1/v1", "model": "m", "answer_tokens": 8,
    "logprobs": False, "retries": 0, "timeout": 5.0, "parallel": 1, "max_requests": None, "max_tokens": None,
}  # fmt: skip


class Asked:
    """An endpoint that answers A to all, ten tokens each, and fails where it is told to."""

    def __init__(self, fails: int | None = None, tokens: int | None = 10):
        self.requests, self.fails, self.tokens = [], fails, tokens

    def __call__(self, asked: dict) -> dict:
        self.requests.append(asked)
        if len(self.requests) == self.fails:
            raise openai.OpenAIError(f"no more of {SECRET}")
        return {"text": f"A {SECRET}", "likeliest": None, "model": "m-1", "tokens": self.tokens}


def test_a_request_holds_what_an_answer_depends_on():
    assert request(SETTINGS, "Which?") == {
        "model": "m", "messages": [{"role": "user", "content": "Which?"}], "temperature": 0, "max_tokens": 8,
    }  # fmt: skip
    with_logps = request(SETTINGS | {"logprobs": True}, "Which?")
    assert with_logps["logprobs"] is True and with_logps["top_logprobs"] == 20
    keys = {
        request_key(url, request(SETTINGS | other, text))
        for url in ("u", "v")
        for other in ({}, {"model": "n"}, {"logprobs": True}, {"answer_tokens": 9})
        for text in ("Which?", "Which")
    }
    assert len(keys) == 16
    assert request_key("u", request(SETTINGS | {"retries": 9, "timeout": 1.0}, "q")) == request_key("u", request(SETTINGS, "q"))


def test_nothing_is_asked_twice(tmp_path):
    path, first, second = tmp_path / "asked.jsonl", Asked(), Asked()
    assert ask_all(["q1", "q2", "q1"], SETTINGS, path, first, None) == {"asked": 2, "kept": 0}
    assert ask_all(["q2", "q3"], SETTINGS, path, second, None) == {"asked": 1, "kept": 1}
    assert [row["messages"][0]["content"] for row in first.requests + second.requests] == ["q1", "q2", "q3"]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["asked"]["messages"][0]["content"] for row in rows] == ["q1", "q2", "q3"]
    assert rows[0] == {
        "key": request_key(SETTINGS["base_url"], request(SETTINGS, "q1")), "endpoint": "http://localhost:1/v1",
        "asked": request(SETTINGS, "q1"), "answer": {"text": f"A {SECRET}", "likeliest": None, "model": "m-1", "tokens": 10},
    }  # fmt: skip


@pytest.mark.parametrize("parallel", [1, 3])
def test_what_was_answered_is_kept_where_a_request_fails(tmp_path, parallel):
    path, fails = tmp_path / "asked.jsonl", Asked(fails=3)
    with pytest.raises(
        BadInput, match=r"judge provider, http://localhost:1/v1: .*\(no more of \(key\)\); what was answered is kept"
    ):
        ask_all(["q1", "q2", "q3", "q4"], SETTINGS | {"parallel": parallel}, path, fails, SECRET)
    assert len(read_asked(path)) == 2
    again = Asked()
    assert ask_all(["q1", "q2", "q3", "q4"], SETTINGS | {"parallel": parallel}, path, again, SECRET) == {"asked": 2, "kept": 2}
    text = path.read_text()
    assert len(read_asked(path)) == 4 and text.count("(key)") == 4 and "secret" not in text


def test_a_limit_on_requests_stops_before_the_first(tmp_path):
    path, ask = tmp_path / "asked.jsonl", Asked()
    ask_all(["q1"], SETTINGS, path, ask, None)
    with pytest.raises(
        BadParams, match=r"2 requests are to be made, 1 were made before, and max_requests is 2: .*nothing was asked"
    ):
        ask_all(["q1", "q2", "q3"], SETTINGS | {"max_requests": 2}, path, ask, None)
    assert len(ask.requests) == 1
    ask_all(["q1", "q2", "q3"], SETTINGS | {"max_requests": 3}, path, ask, None)


def test_a_limit_on_tokens_stops_where_it_is_reached_and_goes_on_where_it_is_raised(tmp_path):
    path, ask, texts = tmp_path / "asked.jsonl", Asked(), [f"q{n}" for n in range(5)]
    with pytest.raises(BadParams, match="20 tokens are spent and max_tokens is 15, with 3 requests to be made: raise it"):
        ask_all(texts, SETTINGS | {"max_tokens": 15}, path, ask, None)
    assert len(ask.requests) == 2
    with pytest.raises(BadParams, match="20 tokens are spent"):  # in this run as in the one before
        ask_all(texts, SETTINGS | {"max_tokens": 20}, path, ask, None)
    assert ask_all(texts, SETTINGS | {"max_tokens": 50}, path, ask, None) == {"asked": 3, "kept": 2}
    with pytest.raises(BadInput, match="does not say how many tokens it used"):
        ask_all(texts, SETTINGS | {"max_tokens": 50}, tmp_path / "other.jsonl", Asked(tokens=None), None)


def test_a_file_that_a_killed_run_left_is_gone_on_with(tmp_path):
    path = tmp_path / "asked.jsonl"
    ask_all(["q1", "q2"], SETTINGS, path, Asked(), None)
    whole = path.read_text()
    path.write_text(whole[:-30])
    assert len(read_asked(path)) == 1
    assert ask_all(["q1", "q2"], SETTINGS, path, Asked(), None) == {"asked": 1, "kept": 1}
    with pytest.raises(BadInput, match="line 2 is not whole"):
        read_asked(path)  # the half line stands in the middle now, and nobody is told otherwise
    append(tmp_path / "other.jsonl", [{"key": "k"}], None)
    assert read_asked(tmp_path / "other.jsonl") == {"k": {"key": "k"}} and read_asked(tmp_path / "none") == {}


def test_the_key_comes_from_the_environment():
    assert read_key(None, {}) is None and read_key("MY_KEY", {"MY_KEY": SECRET}) == SECRET
    for environment in ({}, {"MY_KEY": ""}):
        with pytest.raises(BadParams, match="the environment has no MY_KEY"):
            read_key("MY_KEY", environment)
    assert without_key(json.dumps({"said": SECRET}) + SECRET, SECRET) == '{"said": "(key)"}(key)'


def test_an_answer_by_log_probabilities_or_by_its_text():
    assert for_first({"text": "B", "likeliest": None}) == 0 and for_first({"text": "A", "likeliest": {}}) == 1
    assert for_first({"text": "Well", "likeliest": None}) is None
    e = {"A": -1.0, " A": -2.0, "B": -1.5, "Well": -0.1}
    sums = 2.718281828**-1.0 + 2.718281828**-2.0, 2.718281828**-1.5
    assert for_first({"text": "Well", "likeliest": e}) == pytest.approx(sums[0] / sum(sums))
    assert for_first({"text": "B", "likeliest": {"B": -0.1}}) == 0  # of A nothing is known


class Handler(BaseHTTPRequestHandler):
    status, body, seen = 401, b"", []

    def do_POST(self):
        type(self).seen.append(
            (self.path, self.headers.get("Authorization"), self.rfile.read(int(self.headers["Content-Length"])))
        )
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def web():
    """A server that says what `Handler` is told to, and its address."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Handler.seen = []
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (401, "does not take the key"),
        (404, "no such model or address"),
        (400, "refuses the request"),
        (429, "takes no more for now"),
    ],
)
def test_what_an_endpoint_complains_of_is_told_without_the_key(web, tmp_path, monkeypatch, status, wanted):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    key = "sk-very-secret"
    Handler.status, Handler.body = status, json.dumps({"error": {"message": f"Incorrect key {key}"}}).encode()
    settings = SETTINGS | {"base_url": web}
    with pytest.raises(BadInput) as raised:
        ask_all(["q"], settings, tmp_path / "asked.jsonl", asker(settings, key), key)
    assert wanted in str(raised.value) and "Incorrect key (key)" in str(raised.value) and key not in str(raised.value)
    [(path, authorization, body)] = Handler.seen
    assert (path, authorization) == ("/v1/chat/completions", f"Bearer {key}") and b'"temperature":0' in body
    # Without a key of its own nobody's is sent.
    with pytest.raises(BadInput):
        ask_all(["q"], settings, tmp_path / "asked.jsonl", asker(settings, None), None)
    assert Handler.seen[1][1] == "Bearer none"


def test_an_endpoint_is_asked_again_as_often_as_retries_says(web, tmp_path, monkeypatch):
    monkeypatch.setattr("openai._base_client.BaseClient._calculate_retry_timeout", lambda *_: 0.0)
    Handler.status, Handler.body = 503, b"{}"
    settings = SETTINGS | {"base_url": web, "retries": 2}
    with pytest.raises(BadInput, match="run dvc repro again"):
        ask_all(["q"], settings, tmp_path / "asked.jsonl", asker(settings, None), None)
    assert len(Handler.seen) == 3
    with pytest.raises(BadInput, match="cannot be reached"):
        ask_all(["q"], SETTINGS, tmp_path / "asked.jsonl", asker(SETTINGS, None), None)


@pytest.fixture(scope="module")
def served():
    """The embedded model behind llama.cpp's server."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="xllamacpp, a server of GGUF models, is not installed")
    from preference_study.models.embedded import embedded_file

    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = str(embedded_file()), {"smollm2"}
    params.n_ctx, params.n_parallel, params.port, params.warmup, params.offline = 1024, 1, 0, False, True
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)  # which ends where nobody holds it
    yield server.listening_address
    del server


def test_a_real_server_judges(served, tmp_path, monkeypatch):
    """Both stages of the pipeline against it: the questions asked, kept, and what they come to; and no more the second time."""
    import stages.ask_endpoint
    import stages.ask_judge
    import stages.prepare_judge

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SERVER_KEY", "sk-of-the-server")
    tiny_params(tmp_path)
    entry = {"name": "server", "kind": "endpoint", "base_url": f"{served}/v1", "model": "smollm2", "key": "SERVER_KEY"}
    change(tmp_path, judges=[entry | {"max_requests": 6, "max_tokens": 5000, "logprobs": True, "answer_tokens": 1}])
    Path("judges").mkdir()
    Path("judges/pairwise.txt").write_text((ROOT / "judges/pairwise.txt").read_text())
    prompts = [{"id": "p1", "prompt": asked("Say hi.")}, {"id": "p2", "prompt": asked("Say no.")}]
    for policy, texts in (("base", ["Hi.", "No."]), ("dpo", ["Hello there, hello!", "No."])):
        rows = [row | {"response": text} for row, text in zip(prompts, texts, strict=True)]
        write_json(f"data/responses/generated/{policy}.json", rows)
    pairs = [("v1", asked("Name a colour."), "Red.", "x"), ("v2", asked("Count to two."), "1, 2", "I will not.")]
    write_table("data/prepared/val.parquet", pd.DataFrame(pairs, columns=["id", "prompt", "chosen", "rejected"]))
    stages.prepare_judge.main("server")
    stages.ask_endpoint.main("server")
    kept = Path("data/asked/server.jsonl").read_text()
    rows = [json.loads(line) for line in kept.splitlines()]
    assert len(rows) == 6 and {row["answer"]["model"] for row in rows} == {"smollm2"}
    assert all(row["answer"]["tokens"] > 50 and len(row["answer"]["likeliest"]) == 20 for row in rows)
    stages.ask_endpoint.main("server")
    assert Path("data/asked/server.jsonl").read_text() == kept
    stages.ask_judge.main("server")
    found = read_json("data/judgements/server.json")
    assert (found["kind"], found["questions"]) == ("endpoint", 6) and found["unanswered"] < 6
    assert [row["preference"] for row in found["responses"]][1] == 0.5  # the same text, about which nothing is asked
    for row, (one, other) in zip([found["responses"][0], *found["pairs"]], zip(rows[::2], rows[1::2], strict=True), strict=True):
        as_first, as_second = for_first(one["answer"]), for_first(other["answer"])
        assert row["as_first"] == (0.5 if as_first is None else as_first)
        assert row["as_second"] == (0.5 if as_second is None else 1 - as_second)
        assert row["preference"] == pytest.approx((row["as_first"] + row["as_second"]) / 2)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 5 and not [path for path in written if b"sk-of-the-server" in path.read_bytes()]
