"""A language model behind an OpenAI-compatible endpoint as a judge: a question is asked once, and kept with its answer."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai

from preference_study.errors import BadInput, BadParams
from preference_study.judges.pairwise import LABELS, answered_label

HIDDEN = "(key)"
LIKELIEST = 20  # tokens whose log-probabilities are asked for, where any are
SILENT = 20  # answers, none of which names a label, after which no more is asked
BEGINS = 0.5  # the probability of both labels together from which on an answer begins with one of them
BLOCK = 1 << 16  # bytes looked at to find where the last line begins, and twice as many next
Ask = Callable[[dict], dict]
KEY = "it does not take the key: see the environment variable that judges names"
REFUSED = (
    "it refuses the request: where it has no log-probabilities set logprobs to false; where a question is too long for it, or it "
    "takes no max_tokens or no temperature of 0, take another model"
)
LOGPROBS = "its log-probabilities are no numbers"
REMEDIES = {
    400: REFUSED,
    401: KEY,
    402: "it wants to be paid first: see the credit and the limits of the account there",
    403: KEY,
    404: "it knows no such model or address: see model and base_url, which mostly ends in /v1",
    413: "a question is too large for it: raise its limit on a request's size, or ask another one",
    422: REFUSED,
    429: "it takes no more for now: lower parallel, raise retries, or wait and run dvc repro again",
}


class NoAnswer(Exception):
    """What came is no answer that can be kept: what to do about it, and what the endpoint said."""


def request(settings: dict[str, Any], question: str) -> dict[str, Any]:
    """What is asked: all that an answer depends on, and no key.

    Args:
        settings: of the judge: model, answer_tokens, logprobs.
    """
    asked = {
        "model": settings["model"],
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": settings["answer_tokens"],
    }
    return asked | ({"logprobs": True, "top_logprobs": LIKELIEST} if settings["logprobs"] else {})


def request_key(base_url: str, asked: dict[str, Any]) -> str:
    """By which a request is known again: a digest of where it went and of all of it."""
    return hashlib.sha256(json.dumps([base_url, asked], sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read_asked(path: str | Path) -> dict[str, dict]:
    """What was asked before, by its key; a last line that a killed run left unfinished is passed over.

    Raises:
        BadInput: another line is not whole, or holds no answer that can be used.
    """
    path = Path(path)
    # Bytes: a line may be cut within a character, and texts hold characters that str.splitlines takes for a line's end.
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    found = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            check_answer(row["answer"])
            found[row["key"]] = row
        except (ValueError, KeyError, TypeError, AttributeError):
            if number < len(lines):
                raise BadInput(
                    f"{path}: line {number} is not whole, or holds no answer that can be used; delete that line, what it held is "
                    "asked again"
                ) from None
    return found


def append(path: str | Path, rows: Iterable[dict], key: str | None) -> None:
    """Add rows to a file of JSON lines, on the disk when this returns; the key stands in none of them."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        # Of a line that a killed run left unfinished the whole is taken out: in the middle of the file it would be refused.
        end, rest = file.seek(0, os.SEEK_END), b""
        while len(rest) < end and b"\n" not in rest:
            file.seek(max(0, end - 2 * len(rest) - BLOCK))
            rest = file.read()
        rest = rest.rpartition(b"\n")[2]
        if rest and not _whole(rest):
            file.truncate(end - len(rest))
        elif rest:
            file.write(b"\n")
        for row in rows:
            # Not in the digest that stands beside them.
            line = json.dumps(row | {name: _hidden(row[name], key) for name in ("asked", "answer")}, ensure_ascii=False)
            # Half of a character, which some endpoints give, can stand in a file only as JSON escapes it.
            file.write(line.encode("utf-8", errors="backslashreplace") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _whole(line: bytes) -> bool:
    try:
        return "key" in json.loads(line)
    except (ValueError, TypeError):
        return False


def _hidden(value: Any, key: str | None) -> Any:
    """A value whose texts are without the key. Names stay: a local server's key may be a common word."""
    if isinstance(value, dict):
        return {name: _hidden(own, key) for name, own in value.items()}
    if isinstance(value, list):
        return [_hidden(own, key) for own in value]
    return without_key(value, key) if isinstance(value, str) else value


def without_key(text: str, key: str | None) -> str:
    """A text in which the key is not, as it is or as JSON would write it."""
    for form in {key, json.dumps(key)[1:-1]} if key else ():
        text = text.replace(form, HIDDEN)
    return text


def read_key(variable: str | None, environment: dict[str, str]) -> str | None:
    """The key, from an environment variable; None where the endpoint needs none.

    Raises:
        BadParams: it is not set.
    """
    if variable is None:
        return None
    if not environment.get(variable):
        raise BadParams(f"the environment has no {variable}, which judges names as the key: export it, and run dvc repro again")
    return environment[variable]


def asker(settings: dict[str, Any], key: str | None) -> Ask:
    """A function that asks the endpoint: takes a request, returns what `read_answer` does.

    Args:
        settings: of the judge: name, base_url, key (the variable that holds it), retries, timeout (seconds).

    Raises:
        BadInput: the key cannot be sent.
    """
    if key and not (key.isascii() and key.isprintable() and key == key.strip()):
        raise BadInput(
            f"judge {settings['name']}: the key in {settings['key']} begins or ends with white space, or holds what is no plain "
            "letter, digit or sign, as a line's end or a typographic quote: export it again without"
        )
    # What the environment holds for OpenAI's client, a key, headers, an organisation, it would send to whatever base_url names.
    of_others = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith("OPENAI_")}
    try:
        client = openai.OpenAI(
            base_url=settings["base_url"], api_key=key or "none", max_retries=settings["retries"], timeout=settings["timeout"]
        )
    finally:
        os.environ.update(of_others)

    def ask(asked: dict) -> dict:
        # As it was sent: the client makes something of everything, and what that is shows only where it is used.
        return read_answer(client.chat.completions.with_raw_response.create(**asked).content, "logprobs" in asked)

    return ask


def read_answer(body: bytes, graded: bool) -> dict[str, Any]:
    """What is kept of a chat completion.

    Args:
        body: as the endpoint sent it.
        graded: whether log-probabilities were asked for.

    Returns:
        {text, likeliest, finish_reason, model, tokens}: the text; the log-probabilities of the likeliest first tokens ({token:
        nats}, None where the endpoint gives none); why it ended ("length" where answer_tokens cut it off); the model that the
        endpoint says it is; how many tokens were read and written. What it does not say is None.

    Raises:
        NoAnswer: it is no chat completion as OpenAI documents it.
    """
    said = _message(body)
    try:
        sent = json.loads(body)
        choice = next(iter(sent.get("choices") or [{}]))
        if error := sent.get("error") or choice.get("error"):
            raise NoAnswer("it answers with an error: see what it says, and run dvc repro again", _message(json.dumps(error)))
        if not sent.get("choices"):
            raise NoAnswer("an answer without choices; is it OpenAI-compatible? See base_url, which mostly ends in /v1", said)
        content = choice["message"].get("content")
        if isinstance(content, list):  # of parts; a thought among them has no text
            content = "".join(part.get("text", "") for part in content)
        answer = {
            "text": "" if content is None else content,
            "likeliest": _likeliest(choice.get("logprobs")) if graded else None,
            "finish_reason": choice.get("finish_reason"),
            "model": sent.get("model"),
            "tokens": (sent.get("usage") or {}).get("total_tokens"),
        }
        check_answer(answer)
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise NoAnswer(
            "what it sends is no whole JSON: see base_url, which mostly ends in /v1; where that is right, run dvc repro again",
            said,
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        what = str(error) if isinstance(error, ValueError) else "a part of it is missing, or something else"
        remedy = "set logprobs to false" if what == LOGPROBS else "ask a server that is OpenAI-compatible"
        raise NoAnswer(f"an answer in another form than OpenAI's, {what}: {remedy}", said) from None
    return answer


def _likeliest(logprobs: Any) -> dict[str, Any] | None:
    """The log-probabilities of the likeliest first tokens.

    Raises:
        ValueError: they are in another form.
    """
    try:
        first = next(iter((logprobs or {}).get("content") or []), {})
        return {top["token"]: top["logprob"] for top in first.get("top_logprobs") or []} or None
    except (TypeError, KeyError, AttributeError):
        raise ValueError(LOGPROBS) from None


def check_answer(answer: dict[str, Any]) -> None:
    """Hold an answer against what it must be to be used: what is kept is read in every later run.

    Raises:
        ValueError: something in it is not as `read_answer` says.
    """
    if not isinstance(answer["text"], str):
        raise ValueError("its content is no text")
    if not all(isinstance(token, str) and _is_logp(logp) for token, logp in (answer["likeliest"] or {}).items()):
        raise ValueError(LOGPROBS)
    if answer["tokens"] is not None and type(answer["tokens"]) is not int:
        raise ValueError("its total_tokens is no whole number")
    # Files of earlier versions have no finish_reason.
    if any(not isinstance(said, str | None) for said in (answer["model"], answer.get("finish_reason"))):
        raise ValueError("its model or finish_reason is no text")


def _is_logp(value: Any) -> bool:
    return type(value) in (int, float) and -math.inf < value < 1  # above 0 by rounding alone


def _message(body: bytes | str) -> str:
    """What an endpoint says in an error: the message in it or, where there is none, all of it."""
    try:
        said = json.loads(body)
    except ValueError:
        return body.decode("utf-8", errors="replace") if isinstance(body, bytes) else body
    while isinstance(said, dict) and (inner := said.get("error") or said.get("message") or said.get("detail")):
        said = inner
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)


def ask_all(questions: Sequence[str], settings: dict[str, Any], path: str | Path, ask: Ask, key: str | None) -> dict[str, int]:
    """Ask what was not asked before, and keep each request with its answer.

    Args:
        questions: in the order in which they are asked.
        settings: of the judge: base_url, model, parallel, max_requests and max_tokens (of all that the file holds; None: no
            limit).
        path: of the file that keeps them.
        ask: as from `asker`.
        key: to be in no file and no message.

    Returns:
        {asked, kept}: how many requests were made now, and how many had been answered before.

    Raises:
        BadParams: the limit on requests is lower than what is to be asked, and nothing was asked; or the limit on tokens is
            reached.
        BadInput: the endpoint gives no answer, or `SILENT` of them and not one label; those that it gave are kept.
    """
    url, limit = settings["base_url"], settings["max_tokens"]
    before = read_asked(path)
    wanted = {request_key(url, asked): asked for asked in (request(settings, text) for text in questions)}
    todo = [(digest, asked) for digest, asked in wanted.items() if digest not in before]
    if settings["max_requests"] is not None and len(before) + len(todo) > settings["max_requests"]:
        raise BadParams(
            f"judge {settings['name']}: {len(todo):,} requests are to be made, {len(before):,} were made before, and "
            f"max_requests is {settings['max_requests']:,}: raise it, or lower max_prompts and max_pairs; nothing was asked"
        )
    answered = [before[digest]["answer"] for digest in wanted if digest in before]
    _check_labels(answered, settings, key)
    spent = sum(row["answer"]["tokens"] or 0 for row in before.values())
    with ThreadPoolExecutor(settings["parallel"]) as pool:
        for start in range(0, len(todo), settings["parallel"]):
            if limit is not None and spent >= limit:
                raise BadParams(
                    f"judge {settings['name']}: {spent:,} tokens are spent and max_tokens is {limit:,}, with "
                    f"{len(todo) - start:,} requests to be made: raise it, and dvc repro goes on; what was answered is kept"
                )
            some = todo[start : start + settings["parallel"]]
            asking = [(digest, asked, pool.submit(ask, asked)) for digest, asked in some]
            failed = [error for *_, answer in asking if (error := answer.exception())]
            rows = [
                {"key": digest, "endpoint": url, "asked": asked, "answer": answer.result()}
                for digest, asked, answer in asking
                if not answer.exception()
            ]
            append(path, rows, key)
            spent += sum(row["answer"]["tokens"] or 0 for row in rows)
            if failed:
                raise _told(failed[0], settings, key)
            answered += [row["answer"] for row in rows]
            _check_labels(answered, settings, key)
            if limit is not None and any(row["answer"]["tokens"] is None for row in rows):
                raise BadInput(
                    f"judge {settings['name']}: {url} does not say how many tokens it used, so max_tokens cannot be held to: set "
                    "it to null, and max_requests to a number"
                )
            print(f"{settings['name']}: {start + len(some)} of {len(todo)} requests, {spent:,} tokens in all", flush=True)
    return {"asked": len(todo), "kept": len(wanted) - len(todo)}


def _check_labels(answers: list[dict], settings: dict[str, Any], key: str | None) -> None:
    """Raise `BadInput` where there are `SILENT` answers or more and none names a label: the next ones would not either."""
    if len(answers) >= SILENT and all(for_first(answer) is None for answer in answers):
        raise BadInput(
            f"judge {settings['name']}, {settings['base_url']}: of {len(answers)} answers none names a label, and no more is "
            f"asked; {without_key(unlabelled(answers[0]), key)}; what was answered is kept"
        )


def unlabelled(answer: dict[str, Any]) -> str:
    """What to tell of answers that name no label: one of them, and what to do."""
    return (
        f"one is {answer['text'][:200]!r}, finish_reason {answer.get('finish_reason')}: where that is length, as of a model that "
        f"first reasons, raise answer_tokens; else have the question (template) ask for {' or '.join(LABELS)} alone, or ask "
        "another model"
    )


def _told(error: BaseException, settings: dict[str, Any], key: str | None) -> BaseException:
    """What is said of an endpoint's error: what to do, and what it says itself, without the key."""
    if isinstance(error, NoAnswer):
        remedy, said = error.args
    elif isinstance(error, openai.APIStatusError):
        remedy = REMEDIES.get(error.status_code, "run dvc repro again")
        said = f"status {error.status_code}: {_message(error.response.content)}"
    elif isinstance(error, openai.APITimeoutError):
        remedy, said = f"no answer within {settings['timeout']:g} seconds: raise timeout, or lower parallel", str(error)
    elif isinstance(error, openai.OpenAIError):
        remedy, said = "it cannot be reached: is it running, and base_url right? If it broke off, run dvc repro again", str(error)
    else:
        return error
    said = " ".join(without_key(said, key).split())[:300]
    return BadInput(f"judge {settings['name']}, {settings['base_url']}: {remedy} ({said}); what was answered is kept")


def label_probabilities(answer: dict[str, Any]) -> list[float] | None:
    """How probable each label is as an answer's first token, white space beside it or none; None where it is not known."""
    if (likeliest := answer["likeliest"]) is None:
        return None
    return [sum(math.exp(logp) for token, logp in likeliest.items() if token.strip() == label) for label in LABELS]


def for_first(answer: dict[str, Any]) -> float | None:
    """How much an answer is for the first response: by the labels' log-probabilities, or by its text.

    By log-probabilities where both labels are known, and hold `BEGINS` of the probability or more: the answer of a model that
    first reasons, or begins with words, does not begin with a label, and what little they have there says nothing of its answer.

    Returns:
        From 0 to 1; None where it names no label.
    """
    labels = label_probabilities(answer)
    if labels and all(labels) and sum(labels) >= BEGINS:
        return labels[0] / sum(labels)
    label = answered_label(answer["text"])
    return None if label is None else float(label == LABELS[0])
