"""Raw files that the study met or may meet, each with the pairs that must come out or what its error must name."""

import gzip
import io
import json
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet


def say(role: str, content: Any) -> dict:
    return {"role": role, "content": content}


def user(content: Any) -> dict:
    return say("user", content)


def assistant(content: Any) -> dict:
    return say("assistant", content)


SYSTEM = say("system", "Be brief.")
# The pair that most of the files hold, in one form or another.
Q, A, B = "Name a fruit.", "Apple.", "Car."
PAIR = ([user(Q)], A, B)
WITH_SYSTEM = ([SYSTEM, user(Q)], A, B)
PASSAGE = "Apples grow on trees. " * 9 + "So do pears."
THREE = [user("hi"), assistant("hello"), user(Q)]


@dataclass(frozen=True)
class Case:
    """A raw file and what must become of it.

    Attributes:
        content: its bytes.
        pairs: (prompt, chosen, rejected) that must come out, in order; None where it must be refused.
        names: what the error's message must hold.
        dropped: rows dropped, by reason; all other reasons count none.
        left_out: columns that do not travel.
        data: other parameters of the section data.
        validation: the validation file beside it.
    """

    name: str
    content: bytes
    pairs: list[tuple] | None = None
    names: tuple[str, ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    validation: bytes = b""


def lines(*rows: Any) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def table(columns: dict[str, list]) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table(columns), out)
    return out.getvalue()


def zst(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(content)
    return sink.getvalue().to_pybytes()


EXPLICIT = {"prompt": Q, "chosen": A, "rejected": B}
# Prompts that are one turn, though they hold what a transcript may hold; and one that is a transcript, but for the turns given.
TALK = [
    "Q: What is 1 + 1?\nA: 2\n\nQ: What is 2 + 2?",
    "User: who is that?",
    "User: a\nUser: b",
    "In chats, what do User: and Assistant: say?",
    "Sum this up.\nUser: hi\nAssistant: hello\nUser: bye",
    "Assistant: hello\nUser: bye",
    "Question: 1?\nAnswer: 2\nQuestion: 3?",
]
SHOWN = "User: hi\nAssistant: hello\nUser: bye"
STUDY = {"question": Q, "response_1": A, "response_2": B, "overall_response": 1}


def accepted(name: str, *rows: dict, pairs: list[tuple] | None = None, **more: Any) -> Case:
    """A case of JSON lines, of which by default the one pair comes out."""
    if "columns" in more.get("data", {}):  # the validation file must have these columns too
        more["validation"] = lines(*(json.loads(json.dumps(rows[0]).replace(Q, f"v{n}")) for n in range(4)))
    return Case(f"{name}.jsonl", lines(*rows), [PAIR] if pairs is None else pairs, **more)


def dropped(name: str, reason: str, *rows: dict, **more: Any) -> Case:
    """Rows that are dropped for a reason, after a good one."""
    good = {**EXPLICIT} if "prompt" in rows[0] or "question" not in rows[0] else {**STUDY}
    if "prompt" not in rows[0] and "question" not in rows[0]:
        good = {"chosen": [user(Q), assistant(A)], "rejected": [user(Q), assistant(B)]}
    return Case(f"{name}.jsonl", lines(good, *rows), [PAIR], dropped={reason: len(rows)}, **more)


def refused(name: str, content: bytes, *names: str, **more: Any) -> Case:
    return Case(name, content, None, names, **more)


def coded(*values: Any) -> list[dict]:
    return [STUDY | {"question": f"q{n}", "overall_response": value} for n, value in enumerate(values)]


def frame(rows: list[dict]) -> bytes:
    out = io.BytesIO()
    pd.DataFrame(rows).to_parquet(out)
    return out.getvalue()


# fmt: off
SHAPES = [
    accepted("study", STUDY),
    accepted("study_second_preferred", STUDY | {"response_1": B, "response_2": A, "overall_response": 2}),
    accepted("study_text_labels", STUDY | {"overall_response": " 1 "}),
    accepted("study_float_labels", STUDY | {"overall_response": 1.0}),
    accepted("study_beside_a_stray_prompt", STUDY | {"prompt": "x"}, left_out=("prompt",)),
    accepted("trl_explicit", EXPLICIT),
    *(accepted(f"trl_explicit_beside_{name}", EXPLICIT | {name: "a label"}) for name in ("conversations", "answers")),
    accepted("trl_explicit_messages", {"prompt": [user(Q)], "chosen": [assistant(A)], "rejected": [assistant(B)]}),
    accepted("trl_explicit_one_message_each", {"prompt": user(Q), "chosen": assistant(A), "rejected": assistant(B)}),
    accepted("trl_implicit_messages", {"chosen": [user(Q), assistant(A)], "rejected": [user(Q), assistant(B)]}),
    accepted(
        "trl_implicit_texts", {"chosen": "The sky is blue.", "rejected": "The sky is green."},
        pairs=[([user("The sky is")], "blue.", "green.")],
    ),
    accepted("texts_that_talk_of_speakers", {"chosen": "User: a name for one who reads.", "rejected": "User: a name for one who pays."},
             pairs=[([user("User: a name for one who")], "reads.", "pays.")]),
    accepted("lines_of_windows", {"prompt": "a\r\nb", "chosen": "c\r\n\r\nd", "rejected": B}, pairs=[([user("a\nb")], "c\n\nd", B)]),
    accepted("messages_of_windows", {"chosen": [user("a\r\nb"), assistant("c\r\nd")], "rejected": [user("a\nb"), assistant(B)]},
             pairs=[([user("a\nb")], "c\nd", B)]),
    accepted("no_tools", *(EXPLICIT | {"prompt": f"p{n}", "tools": tools} for n, tools in enumerate(("null", "[]", None))),
             pairs=[([user(f"p{n}")], A, B) for n in range(3)]),
    accepted("ultrafeedback", EXPLICIT | {"chosen": [user(Q), assistant(A)], "rejected": [user(Q), assistant(B)]}),
    accepted(
        "ultrafeedback_whole", EXPLICIT | {
            "prompt_id": "1", "chosen": [user(Q), assistant(A)], "rejected": [user(Q), assistant(B)],
            "messages": [user(Q), assistant(A)], "score_chosen": 8.5, "score_rejected": 3.0,
        }, left_out=("messages",),
    ),
    accepted(
        "whole_conversation_beside_its_last_question",
        {"prompt": Q, "chosen": [*THREE, assistant(A)], "rejected": [*THREE, assistant(B)]}, pairs=[(THREE, A, B)],
    ),
    accepted(
        "whole_conversation_beside_its_first_question",
        {"prompt": "hi", "chosen": [*THREE, assistant(A)], "rejected": [*THREE, assistant(B)]}, pairs=[(THREE, A, B)],
    ),
    accepted(
        "whole_conversation_beside_all_of_its_prompt",
        {"prompt": THREE, "chosen": [*THREE, assistant(A)], "rejected": [*THREE, assistant(B)]}, pairs=[(THREE, A, B)],
    ),
    accepted("pku", {"prompt": Q, "response_0": A, "response_1": B, "better_response_id": 0, "safer_response_id": 1}),
    accepted("pku_second_preferred", {"prompt": Q, "response_0": B, "response_1": A, "better_response_id": 1}),
    accepted(
        "hh", {"chosen": f"\n\nHuman: {Q}\n\nAssistant: {A}", "rejected": f"\n\nHuman: {Q}\n\nAssistant: {B}"},
    ),
    accepted(
        "hh_two_exchanges", {
            side: f"\n\nHuman: hi\n\nAssistant: hello\n\nHuman: {Q}\n\nAssistant: {text}"
            for side, text in (("chosen", A), ("rejected", B))
        }, pairs=[(THREE, A, B)],
    ),
    accepted("hh_stripped", {s: f"Human: {Q}\n\nAssistant: {t}" for s, t in (("chosen", A), ("rejected", B))}),
    accepted("hh_prompt_apart", {"prompt": f"\n\nHuman: {Q}\n\nAssistant:", "chosen": f" {A}", "rejected": f" {B}"}),
    accepted(
        "hh_response_of_several_paragraphs",
        {s: f"\n\nHuman: {Q}\n\nAssistant: {t}\n\nReally: {t}" for s, t in (("chosen", A), ("rejected", B))},
        pairs=[([user(Q)], f"{A}\n\nReally: {A}", f"{B}\n\nReally: {B}")],
    ),
    accepted(
        "sharegpt", {
            "conversations": [{"from": "human", "value": Q}],
            "chosen": {"from": "gpt", "value": A}, "rejected": {"from": "gpt", "value": B},
        },
    ),
    accepted("sharegpt_texts", {"conversations": [{"from": "human", "value": Q}], "chosen": A, "rejected": B}),
    accepted(
        "sharegpt_with_a_system_turn", {
            "conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": Q}],
            "chosen": {"from": "gpt", "value": A}, "rejected": {"from": "gpt", "value": B},
        }, pairs=[WITH_SYSTEM],
    ),
    accepted("argilla_question", {"system": "Be brief.", "question": Q, "chosen": A, "rejected": B}, pairs=[WITH_SYSTEM]),
    accepted("orca_input", {"system": "Be brief.", "input": Q, "chosen": A, "rejected": B}, pairs=[WITH_SYSTEM]),
    accepted("an_instruction", {"instruction": Q, "chosen": A, "rejected": B}),
    accepted("alpaca", {"instruction": "Name a", "input": "fruit.", "chosen": A, "rejected": B}, pairs=[([user("Name a\nfruit.")], A, B)]),
    accepted("alpaca_without_input", {"instruction": Q, "input": "", "chosen": A, "rejected": B}),
    accepted("an_instruction_beside_conversations", {"instruction": "kind", "chosen": [user(Q), assistant(A)], "rejected": [user(Q), assistant(B)]}),
    *(
        accepted(f"an_instruction_beside_{name}", {"instruction": Q, "chosen": chosen, "rejected": rejected}, pairs=[([user(Q)], chosen_text, B)])
        for name, chosen, rejected, chosen_text in (
            ("messages", [assistant(A)], [assistant(B)], A),
            ("one_message_each", assistant(A), {"from": "gpt", "value": B}, A),
            ("a_message_and_a_text", [assistant(A)], B, A),
            ("messages_written_out", json.dumps([assistant(A)]), str([assistant(B)]), A),
            ("texts_with_their_marks", f"\n\nAssistant: {A}", f"\n\nAssistant: {B}", A),
            ("a_message_in_json_beside_a_text", '{"role": "user", "content": "hi"}', B, '{"role": "user", "content": "hi"}'),
        )
    ),
    accepted("an_instruction_beside_a_prompt", EXPLICIT | {"instruction": "kind"}),
    accepted("an_empty_system_column", {"system": "", "input": Q, "chosen": A, "rejected": B}),
    accepted("a_missing_system_column", {"system": None, "question": Q, "chosen": A, "rejected": B}),
    accepted("a_system_prompt_column", EXPLICIT | {"system_prompt": "Be brief."}, pairs=[WITH_SYSTEM]),
    accepted(
        "a_system_column_beside_the_turn_itself",
        {"system": "Be brief.", "prompt": [SYSTEM, user(Q)], "chosen": A, "rejected": B}, pairs=[WITH_SYSTEM],
    ),
    accepted(
        "a_system_column_beside_an_empty_turn", {"system": "Be brief.", "prompt": [say("system", " "), user(Q)], "chosen": A, "rejected": B}, pairs=[WITH_SYSTEM],
    ),
    accepted("an_empty_system_column_beside_a_turn", {"system": "", "prompt": [SYSTEM, user(Q)], "chosen": A, "rejected": B}, pairs=[WITH_SYSTEM]),
    accepted("shp", {"history": Q, "human_ref_A": A, "human_ref_B": B, "labels": 1, "score_ratio": 2.0}),
    accepted("shp_b_preferred", {"history": Q, "human_ref_A": B, "human_ref_B": A, "labels": 0}),
    accepted("helpsteer2", {"prompt": Q, "response_1": A, "response_2": B, "preference_strength": -2}),
    accepted("helpsteer2_second", {"prompt": Q, "response_1": B, "response_2": A, "preference_strength": 1}),
    accepted("helpsteer3", {"context": [user(Q)], "response1": B, "response2": A, "overall_preference": 3}),
    accepted(
        "helpsteer3_turns", {"context": THREE, "response1": A, "response2": B, "overall_preference": -1}, pairs=[(THREE, A, B)]
    ),
    accepted(
        "arena", {"conversation_a": [user(Q), assistant(B)], "conversation_b": [user(Q), assistant(A)], "winner": "model_b"}
    ),
    accepted(
        "arena_ties", *(
            {"conversation_a": [user(Q), assistant(A)], "conversation_b": [user(Q), assistant(B)], "winner": winner}
            for winner in ("model_a", "tie", "tie (bothbad)")
        ), dropped={"tie": 2},
    ),
    accepted(
        "arena_55k", {
            "prompt": json.dumps(["hi", Q]), "response_a": json.dumps(["hello", B]), "response_b": json.dumps(["hello", A]),
            "winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0,
        }, pairs=[(THREE, A, B)],
    ),
    accepted(
        "arena_55k_ties_and_other_answers", *(
            {
                "prompt": json.dumps(["hi", Q]), "response_a": json.dumps(["hello", A]), "response_b": json.dumps([first, B]),
                "winner_model_a": won[0], "winner_model_b": won[1], "winner_tie": won[2],
            } for first, won in (("hello", (1, 0, 0)), ("hello", (0, 0, 1)), ("hey", (1, 0, 0)), ("hello", (1, 1, 0)))
        ), pairs=[(THREE, A, B)], dropped={"tie": 1, "conversations_differ": 1, "bad_preference": 1},
    ),
    accepted(
        "nectar", {"prompt": f"\n\nHuman: {Q}\n\nAssistant: ", "answers": [
            {"answer": "Pear.", "rank": 2.0}, {"answer": A, "rank": 1.0}, {"answer": B, "rank": 3.0},
        ]},
    ),
    accepted(
        "nectar_first_two", {"prompt": Q, "answers": [{"answer": t, "rank": r} for t, r in ((B, 2), (A, 1), ("x", 3))]},
        data={"ranks": [1, 2]},
    ),
    accepted(
        "nectar_ties", {"prompt": Q, "answers": [{"answer": A, "rank": 1}, {"answer": B, "rank": 2}]},
        {"prompt": "p", "answers": [{"answer": A, "rank": 1}, {"answer": B, "rank": 1}]},
        {"prompt": "r", "answers": []}, dropped={"tie": 1, "bad_preference": 1},
    ),
    accepted("content_in_parts", {
        "prompt": [user([{"type": "text", "text": Q}])],
        "chosen": [assistant([{"type": "text", "text": "App"}, {"type": "text", "text": "le."}])],
        "rejected": [assistant([{"type": "text", "text": B}])],
    }),
    accepted(
        "system_and_turns", {"prompt": [SYSTEM, *THREE], "chosen": [assistant(A)], "rejected": [assistant(B)]},
        pairs=[([SYSTEM, *THREE], A, B)],
    ),
    accepted("study_with_a_system_column", STUDY | {"system": "Be brief."}, pairs=[WITH_SYSTEM]),
    accepted("pku_with_a_system_prompt", {"prompt": Q, "response_0": A, "response_1": B, "better_response_id": 0, "system_prompt": "Be brief."}, pairs=[WITH_SYSTEM]),
    accepted(
        "helpsteer2_turns", {"prompt": f"hi\n<extra_id_1>Assistant\nhello\n<extra_id_1>User\n{Q}", "response_1": A, "response_2": B, "preference_strength": -1},
        pairs=[(THREE, A, B)],
    ),
    accepted("hh_windows_lines", {s: f"\r\n\r\nHuman: {Q}\r\n\r\nAssistant: {t}" for s, t in (("chosen", A), ("rejected", B))}),
    accepted("hh_small_letters", {s: f"\n\nhuman: {Q}\n\nassistant: {t}" for s, t in (("chosen", A), ("rejected", B))}),
    accepted("hh_single_lines", {s: f"Human: {Q}\nAssistant: {t}" for s, t in (("chosen", A), ("rejected", B))}),
    accepted("a_system_turn_in_the_prompt_alone", {"prompt": [SYSTEM, user(Q)], "chosen": [user(Q), assistant(A)], "rejected": [user(Q), assistant(B)]}, pairs=[WITH_SYSTEM]),
    accepted("an_empty_prompt_beside_whole_conversations", {"prompt": "", "chosen": [user(Q), assistant(A)], "rejected": [user(Q), assistant(B)]}),
    accepted("a_prompt_of_messages_in_an_object", {"prompt": {"messages": [user(Q)]}, "chosen": A, "rejected": B}),
    accepted("helpsteer2_minus_nought", {"prompt": Q, "response_1": A, "response_2": B, "preference_strength": -3}, {"prompt": "p", "response_1": A, "response_2": B, "preference_strength": -0.0}, dropped={"tie": 1}),
    accepted(
        "messages_beside_no_tools", {
            "input": {"messages": [user(Q)], "tools": [], "parallel_tool_calls": True}, "chosen": [assistant(A)], "rejected": {"messages": [assistant(B)], "tools": None},
        },
    ),
    accepted("a_response_with_its_mark", EXPLICIT | {"chosen": f"\n\nAssistant: {A}"}),
    accepted("a_prompt_with_its_mark", EXPLICIT | {"prompt": f"\n\nHuman: {Q}"}),
    accepted("roles_beside_none", {"prompt": [{"role": None, "content": None, "from": " Human ", "value": Q}], "chosen": A, "rejected": B}),
    accepted("whole_conversations_written_out", {"chosen": json.dumps([user(Q), assistant(A)]), "rejected": json.dumps([user(Q), assistant(B)])}),
    accepted("messages_written_out", {"prompt": json.dumps([user(Q)]), "chosen": json.dumps([assistant(A)]), "rejected": str([assistant(B)])}),
    accepted("an_answer_of_code", EXPLICIT | {"chosen": '{"name": "a", "role": 1'}, pairs=[([user(Q)], '{"name": "a", "role": 1', B)]),
    *(
        accepted(f"an_answer_of_json_with_{name}", EXPLICIT | {"chosen": chosen, "rejected": rejected}, pairs=[([user(Q)], chosen, rejected)])
        for name, chosen, rejected in (
            ("a_role_and_more", '{"name": "Bob", "role": "assistant", "value": "42"}', B),
            ("a_sender", '{"from": "ann@x.org", "to": "bob@x.org"}', '{"from": "ann@x.org", "value": "7"}'),
            ("a_message_and_more", '{"role":"assistant","content":"hi","temperature":0.3}', '{"role":"assistant","content":"hi"}'),
            ("one_message_beside_a_text", '{"role": "user", "content": "hi"}', "Sure, here it is."),
            ("people", '[{"name": "Bob", "role": "user"}]', '[{"from": "EUR", "to": "USD", "value": 1}]'),
        )
    ),
    accepted("an_answer_of_json_to_an_instruction", {"instruction": Q, "chosen": '{"role": "admin"}', "rejected": B}, pairs=[([user(Q)], '{"role": "admin"}', B)]),
    accepted("one_message_written_out_a_side", EXPLICIT | {"chosen": json.dumps(assistant(A)), "rejected": str({"from": "gpt", "value": B})}),
    accepted("messages_with_more_written_out", EXPLICIT | {"chosen": json.dumps([assistant(A) | {"weight": 1}]), "rejected": json.dumps([assistant(B)])}),
    accepted("other_names_of_roles", {"prompt": [say("developer", "Be brief."), say("prompter", Q)], "chosen": [say("ai", A)], "rejected": [say("bot", B)]}, pairs=[WITH_SYSTEM]),
    accepted("roles_in_capitals", {"prompt": [say("User", Q)], "chosen": [say("Assistant", A)], "rejected": [say("ASSISTANT", B)]}),
    accepted(
        "prompts_that_talk_of_turns", *(EXPLICIT | {"prompt": prompt} for prompt in TALK), pairs=[([user(prompt)], A, B) for prompt in TALK],
    ),
    accepted(
        "a_transcript_that_a_user_shows", {"prompt": SHOWN, "chosen": [user(SHOWN), assistant(A)], "rejected": [user(SHOWN), assistant(B)]},
        pairs=[([user(SHOWN)], A, B)],
    ),
    accepted("white_space_around", {"prompt": f" {Q}\n", "chosen": f"\n{A}", "rejected": f"{B}\t"}),
    accepted("an_answer_that_looks_like_a_list", EXPLICIT | {"chosen": "[1, 2]"}, pairs=[([user(Q)], "[1, 2]", B)]),
    accepted("chinese", {"prompt": "说一种水果。", "chosen": "苹果。", "rejected": "汽车。"}, pairs=[([user("说一种水果。")], "苹果。", "汽车。")]),
    accepted("arabic", {"prompt": "سم فاكهة", "chosen": "تفاح", "rejected": "سيارة"}, pairs=[([user("سم فاكهة")], "تفاح", "سيارة")]),
    accepted("emoji", EXPLICIT | {"chosen": "🍎👍🏽"}, pairs=[([user(Q)], "🍎👍🏽", B)]),
]

MAPPED = {"prompt": "ask", "responses": ["x", "y"], "preference": "won"}
MAPPED_VALIDATION = lines(*({"ask": f"v{n}", "x": A, "y": B, "won": "AB"[n % 2]} for n in range(4)))
MAPPINGS = [
    accepted(
        "mapping_two_sides", {"ask": Q, "good": A, "bad": B, "who": "s"},
        data={"columns": {"prompt": "ask", "chosen": "good", "rejected": "bad"}},
    ),
    accepted(
        "mapping_with_system", {"ask": Q, "good": A, "bad": B, "sys": "Be brief."}, pairs=[WITH_SYSTEM],
        data={"columns": {"prompt": "ask", "chosen": "good", "rejected": "bad", "system": "sys"}},
    ),
    accepted(
        "mapping_by_letters", {"ask": Q, "x": B, "y": A, "won": "B"}, data={"columns": MAPPED | {"coding": ["A", "B"]}},
    ),
    accepted(
        "mapping_of_zero_and_one", STUDY | {"overall_response": 0}, data={"columns": {
            "prompt": "question", "responses": ["response_1", "response_2"], "preference": "overall_response", "coding": [0, 1],
        }},
    ),
    accepted(
        "mapping_of_truth_values", {"ask": Q, "x": A, "y": B, "won": True}, data={"columns": MAPPED | {"coding": [True, False]}},
    ),
    accepted(
        "mapping_with_ties", {"ask": Q, "x": A, "y": B, "won": "A"}, {"ask": "p", "x": A, "y": B, "won": "="},
        data={"columns": MAPPED | {"coding": ["A", "B"], "tie": ["="]}}, dropped={"tie": 1},
    ),
    accepted(
        "mapping_of_conversations_without_a_prompt", {"x": [user(Q), assistant(A)], "y": [user(Q), assistant(B)]},
        data={"columns": {"chosen": "x", "rejected": "y"}},
    ),
    refused(
        "mapping_names_no_column.jsonl", lines({"ask": Q, "x": A, "y": B}), "'won'", "ask, x, y",
        data={"columns": MAPPED | {"coding": ["A", "B"]}}, validation=MAPPED_VALIDATION,
    ),
    refused(
        "mapping_of_another_coding.jsonl", lines(*({"ask": f"q{n}", "x": A, "y": B, "won": n % 2} for n in range(4))),
        "'won'", "coding", data={"columns": MAPPED | {"coding": ["A", "B"]}}, validation=MAPPED_VALIDATION,
    ),
    refused(
        "mapping_of_both_kinds.jsonl", lines(EXPLICIT), "data.columns", "either chosen and rejected",
        data={"columns": MAPPED | {"coding": [0, 1], "chosen": "x", "rejected": "y"}},
    ),
    refused(
        "mapping_without_coding.jsonl", lines(EXPLICIT), "data.columns", "coding", data={"columns": MAPPED},
    ),
    refused(
        "mapping_of_one_value_for_both.jsonl", lines(EXPLICIT), "data.columns", "both responses",
        data={"columns": MAPPED | {"coding": [1, 1]}},
    ),
    refused("mapping_of_a_value_to_tie_too.jsonl", lines(EXPLICIT), "data.columns", "under tie too", data={"columns": MAPPED | {"coding": ["A", "B"], "tie": ["B"]}}),
    refused("mapping_of_one_column_twice.jsonl", lines(EXPLICIT), "data.columns", "'prompt' is named twice", data={"columns": {"prompt": "prompt", "chosen": "prompt", "rejected": "rejected"}}),
    refused("ranks_upside_down.jsonl", lines(EXPLICIT), "data", "ranks [3, 1]", data={"ranks": [3, 1]}),
]

CODINGS = [
    refused("zero_and_one_for_one_and_two.jsonl", lines(*coded(0, 1, 0, 1)), "'overall_response'", "0 (2 rows)", "coding: [0, 1]"),
    refused("a_single_zero_among_many.jsonl", lines(*coded(0, *[1, 2] * 30)), "'overall_response'", "0 (1 rows)", "coding"),
    refused("letters.jsonl", lines(*coded("A", "B", "A")), "'overall_response'", "coding: [A, B]"),
    refused("truth_values.jsonl", lines(*coded(True, False)), "'overall_response'", "True", "coding: [<the value that means 'response_1'>, <the value that"),
    refused("names.jsonl", lines(*coded("response_1", "response_2")), "coding: [response_1, response_2]"),
    refused("ranks_from_nought.jsonl", lines({"prompt": Q, "answers": [{"answer": A, "rank": 0}, {"answer": B, "rank": 1}]}), "rank 0", "ranks begin with 1"),
    refused("an_infinite_rank.jsonl", lines({"prompt": Q, "answers": [{"answer": A, "rank": 1}, {"answer": B, "rank": float("inf")}]}), "no row can be used", "bad_preference"),
    refused("minus_one_and_one.jsonl", lines(*coded(-1, 1, -1, 1)), "'overall_response'", "-1 (2 rows)"),
    refused("scores.jsonl", lines(*coded(4.5, 3.0, 2.5, 5.0)), "'overall_response'", "4.5"),
    refused("no_preference_at_all.jsonl", lines(*coded(None, "")), "no row can be used", "bad_preference"),
    refused(
        "one_and_two_for_pku.jsonl",
        lines(*({"prompt": f"q{n}", "response_0": A, "response_1": B, "better_response_id": 1 + n % 2} for n in range(4))),
        "'better_response_id'", "coding",
    ),
    refused(
        "one_and_two_for_shp.jsonl",
        lines(*({"history": f"q{n}", "human_ref_A": A, "human_ref_B": B, "labels": 1 + n % 2} for n in range(4))),
        "'labels'", "coding",
    ),
    refused(
        "a_strength_of_five.jsonl",
        lines(*({"prompt": f"q{n}", "response_1": A, "response_2": B, "preference_strength": 5 - n} for n in range(3))),
        "'preference_strength'",
    ),
    accepted(
        "a_slip_among_many", *coded(*[1] * 19, 3), pairs=[([user(f"q{n}")], A, B) for n in range(19)], dropped={"bad_preference": 1},
    ),
    accepted("labels_with_decimals", *coded(1, "2.00", "1.0"), pairs=[([user("q0")], A, B), ([user("q1")], B, A), ([user("q2")], A, B)]),
    accepted("a_missing_label", *coded(1, None), pairs=[([user("q0")], A, B)], dropped={"bad_preference": 1}),
    accepted(
        "helpsteer2_tie", {"prompt": Q, "response_1": A, "response_2": B, "preference_strength": -3},
        {"prompt": "p", "response_1": A, "response_2": B, "preference_strength": 0}, dropped={"tie": 1},
    ),
]

DROPPED = [
    dropped("empty_prompt", "empty_text", EXPLICIT | {"prompt": "  "}),
    dropped("missing_chosen", "empty_text", EXPLICIT | {"chosen": None}),
    dropped("empty_rejected_message", "empty_text", EXPLICIT | {"rejected": [assistant("")]}),
    dropped("empty_list", "empty_text", EXPLICIT | {"chosen": []}),
    dropped("equal_responses", "equal_responses", {"prompt": "p", "chosen": A, "rejected": f" {A}"}),
    dropped("duplicates", "duplicate", EXPLICIT, EXPLICIT),
    dropped("a_prompt_of_validation", "prompt_in_validation", EXPLICIT | {"prompt": "v0"}),
    dropped("conversations_differ", "conversations_differ", {
        "chosen": [user("p"), assistant("x"), user("q"), assistant(A)],
        "rejected": [user("p"), assistant("y"), user("q"), assistant(B)],
    }),
    dropped("prompts_differ", "conversations_differ", {"chosen": [user("p"), assistant(A)], "rejected": [user("q"), assistant(B)]}),
    dropped("whole_beside_part", "conversations_differ", EXPLICIT | {"chosen": [user(Q), assistant("x")]}),
    dropped("transcripts_differ", "conversations_differ", {
        "chosen": f"\n\nHuman: p\n\nAssistant: x\n\nHuman: q\n\nAssistant: {A}",
        "rejected": f"\n\nHuman: p\n\nAssistant: y\n\nHuman: q\n\nAssistant: {B}",
    }),
    dropped("ends_with_the_user", "not_the_assistants", {"chosen": [user(Q), assistant("x"), user("y")], "rejected": [user(Q), assistant(B)]}),
    dropped("a_user_turn_as_response", "not_the_assistants", EXPLICIT | {"chosen": [user(A)]}),
    dropped("no_user_turn", "no_user_turn", {"prompt": [SYSTEM], "chosen": A, "rejected": B}),
    dropped("response_alone", "no_user_turn", {"chosen": [assistant(A)], "rejected": [assistant(B)]}),
    dropped("prompt_ends_with_the_assistant", "not_the_users_turn", {"prompt": [user("p"), assistant("x")], "chosen": A, "rejected": B}),
    dropped("another_prompt", "prompt_contradicts", {
        "prompt": "other", "chosen": [user(Q), assistant(A)], "rejected": [user(Q), assistant(B)],
    }),
    dropped(
        "another_system_turn", "prompt_contradicts", {"system": "S1", "prompt": [say("system", "S2"), user("p")], "chosen": A, "rejected": B},
        {"system": "S1", "prompt": None, **{side: [say("system", "S2"), user("p"), assistant(text)] for side, text in (("chosen", A), ("rejected", B))}},
    ),
    dropped("a_picture", "not_text", {"prompt": [user([{"type": "image", "image": "x"}, {"type": "text", "text": Q}])], "chosen": A, "rejected": B}),
    dropped("a_picture_by_address", "not_text", EXPLICIT | {"prompt": [user([{"type": "image_url", "image_url": {"url": "x"}}])]}),
    dropped("a_number_as_content", "not_text", EXPLICIT | {"prompt": [user(7)]}),
    dropped("a_tool_turn", "tool_calls", {"prompt": [user("p"), say("tool", "7"), user("q")], "chosen": A, "rejected": B}),
    dropped("a_tool_call", "tool_calls", EXPLICIT | {"chosen": [assistant(None) | {"tool_calls": [{"name": "f"}]}]}),
    dropped("a_function_of_sharegpt", "tool_calls", EXPLICIT | {"prompt": [{"from": "function_call", "value": "f()"}]}),
    dropped("an_unknown_role_written_out", "unknown_role", EXPLICIT | {"prompt": json.dumps([say("narrator", "x")])}),
    dropped("a_tool_call_written_out", "tool_calls", EXPLICIT | {"chosen": json.dumps([{"role": "assistant", "tool_calls": [{"name": "f"}]}])}),
    dropped("an_unknown_role", "unknown_role", EXPLICIT | {"prompt": [say("narrator", "x"), user(Q)]}),
    dropped("a_message_without_role", "unknown_role", EXPLICIT | {"prompt": [{"content": Q}]}),
    dropped("chatml", "turns_in_text", {"prompt": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n", "chosen": A, "rejected": B}),
    dropped("llamas_marks", "turns_in_text", {"prompt": "[INST] q [/INST]", "chosen": A, "rejected": B}),
    dropped("a_response_with_its_end", "turns_in_text", EXPLICIT | {"prompt": "p", "chosen": "Apple.<|im_end|>"}),
    dropped("a_transcript_of_another_form", "turns_in_text", EXPLICIT | {"prompt": "User: hi\nAssistant:"}),
    dropped("an_instruction_template", "turns_in_text", EXPLICIT | {"prompt": "### Instruction:\np\n\n### Response:"}),
    dropped("a_markdown_transcript", "turns_in_text", EXPLICIT | {"prompt": "### Human: hi\n### Assistant:"}),
    dropped("vicunas_transcript", "turns_in_text", EXPLICIT | {"prompt": "USER: hi ASSISTANT:"}),
    dropped(
        "transcripts_of_several_turns_as_prompts", "turns_in_text",
        *(EXPLICIT | {"prompt": prompt} for prompt in (
            "User: hi\nAssistant: hello\nUser: bye", "USER: hi ASSISTANT: hello USER: bye", "User: hi\r\n\r\nAI: hello\r\n\r\nUser: bye",
            "### Human: hi\n### Assistant: hello\n### Human: bye", "System: Be brief.\nUser: hi\nBot: hello\nUser: bye",
            "USER: hi ASSISTANT: hello</s>USER: bye", "User: hi\nAssistant: hello",
        )),
    ),
    dropped(
        "marks_in_the_middle", "turns_in_text",
        EXPLICIT | {"prompt": "p", "chosen": "Apple.<|im_end|>\n<|im_start|>user\nMore?"},
        EXPLICIT | {"prompt": "p2", "rejected": "It is.<|endoftext|>The next text"},
        EXPLICIT | {"prompt": "Hi.<end_of_turn>\nAnd more"},
        EXPLICIT | {"prompt": "Hi.<\uff5cAssistant\uff5c>And more"},
    ),
    dropped(
        "marks_of_other_templates", "turns_in_text",
        *(EXPLICIT | {"prompt": f"p{n}", "chosen": text} for n, text in enumerate((
            "Apple.<|end|><|user|>More?<|end|>", "It is<|start|>user<|message|>q<|return|>.", "A<|START_OF_TURN_TOKEN|>B",
            "Apple[|endofturn|] More", "It is <s>[INST] q [/INST] a </s> and so on",
        ))),
    ),
    dropped(
        "thoughts_beside_the_text", "thoughts",
        EXPLICIT | {"chosen": [assistant(A) | {"reasoning_content": "A fruit grows."}], "rejected": [assistant(A)]},
        EXPLICIT | {"prompt": "p", "rejected": [assistant(B) | {"thinking": "Hm."}]},
    ),
    dropped(
        "earlier_turns_in_a_column", "earlier_turns", EXPLICIT | {"prompt": "And another?", "history": [["Name a fruit.", "Pear."]]},
        left_out=("history",),
    ),
    Case("earlier_turns.csv", b"prompt,chosen,rejected,history\n%b,Apple.,Car.,[]\nq,a,b,\"[['u', 'a']]\"\n" % Q.encode(), [PAIR], dropped={"earlier_turns": 1}, left_out=("history",)),
    dropped(
        "ends_of_sequences", "turns_in_text",
        *(EXPLICIT | {"prompt": f"p{n}", "chosen": text} for n, text in enumerate(("Apple.</s>", "Apple. <eos>", "<s> Apple.", "Apple.<|end_of_text|>"))),
    ),
    dropped(
        "transcripts_that_are_not_read", "turns_in_text",
        {"chosen": "User: q\nAssistant: I like it", "rejected": "User: q\nAssistant: I hate it"},
        {"chosen": "### Human: q\n### Assistant: Yes", "rejected": "### Human: q\n### Assistant: No"},
        {"chosen": "Q: q\r\n\r\nA: It is", "rejected": "Q: q\r\n\r\nA: It was"},
        {"chosen": "USER: q ASSISTANT: It is", "rejected": "USER: q ASSISTANT: It was"},
    ),
    dropped("tools_as_text", "tool_calls", EXPLICIT | {"prompt": "p", "tools": '[{"name": "f"}]'}),
    dropped("equal_but_for_line_ends", "equal_responses", EXPLICIT | {"prompt": "p", "chosen": "a\r\nb", "rejected": "a\nb"}),
    dropped("nothing_to_see", "empty_text", EXPLICIT | {"prompt": "\u200b\ufeff"}),
    dropped("a_picture_in_a_column", "not_text", EXPLICIT | {"prompt": "p", "images": ["x.png"]}, left_out=("images",)),
    dropped("tools_beside_messages", "tool_calls", *(EXPLICIT | {side: {"messages": [turn], "tools": [{"name": "f"}]}} for side, turn in (("prompt", user("p")), ("chosen", assistant("p"))))),
    dropped("tools_in_a_column", "tool_calls", EXPLICIT | {"prompt": "p", "tools": [{"name": "f"}]}, left_out=("tools",)),
    dropped("a_list_cut_off", "not_a_conversation", EXPLICIT | {"prompt": "p", "chosen": "[{'role': 'assistant', 'content': 'Ap"}),
    dropped("a_list_of_numpy", "not_a_conversation", EXPLICIT | {"prompt": "p", "chosen": "[{'role': 'user', 'content': 'q'}\n {'role': 'assistant', 'content': 'a'}]"}),
    dropped("a_number_as_prompt", "not_a_conversation", EXPLICIT | {"prompt": 7}),
    dropped("texts_for_messages", "not_a_conversation", EXPLICIT | {"chosen": ["Apple."]}),
    Case(
        "lone_surrogate.jsonl", lines(EXPLICIT) + b'\n{"prompt": "q2", "chosen": "fine \\ud83d", "rejected": "x"}', [PAIR],
        dropped={"broken_text": 1},
    ),
    Case(
        "lone_surrogate_in_a_turn.jsonl",
        lines(EXPLICIT) + b'\n{"prompt": [{"role": "user", "content": "\\udc00"}], "chosen": "a", "rejected": "b"}', [PAIR],
        dropped={"broken_text": 1},
    ),
    dropped(
        "codes_of_no_character", "broken_text",
        EXPLICIT | {"prompt": "p", "chosen": "Apple.<|im\ufdd0_end|> More"}, EXPLICIT | {"prompt": "p\ufdd1"}, EXPLICIT | {"rejected": "x\uffff"},
    ),
    refused("nothing_left.jsonl", lines(EXPLICIT | {"prompt": "v0"}), "no row can be used", "prompt_in_validation"),
    refused("only_empty_texts.jsonl", lines(EXPLICIT | {"prompt": ""}, EXPLICIT | {"chosen": ""}), "no row can be used", "2 of 2"),
]

CSV = b"prompt,chosen,rejected\n"
CSV_PAIR = CSV + f"{Q},{A},{B}\n".encode()
FILES = [
    Case("explicit.parquet", table({k: [v] for k, v in EXPLICIT.items()}), [PAIR]),
    Case("messages.parquet", table({"prompt": [[user(Q)]], "chosen": [[assistant(A)]], "rejected": [[assistant(B)]]}), [PAIR]),
    Case("ultrafeedback.parquet", frame([EXPLICIT | {"chosen": [user(Q), assistant(A)], "rejected": [user(Q), assistant(B)]}]), [PAIR]),
    Case("array.json", json.dumps([EXPLICIT], indent=1).encode(), [PAIR]),
    Case("lines.json", lines(EXPLICIT), [PAIR]),
    Case("array.jsonl", json.dumps([EXPLICIT]).encode(), [PAIR]),
    Case("plain.csv", CSV_PAIR, [PAIR]),
    Case("capitals.CSV", CSV_PAIR, [PAIR]),
    Case("plain.csv.gz", gzip.compress(CSV_PAIR), [PAIR]),
    Case("plain.csv.zst", zst(CSV_PAIR), [PAIR]),
    Case("lines.jsonl.gz", gzip.compress(lines(EXPLICIT)), [PAIR]),
    Case("lines.jsonl.zst", zst(lines(EXPLICIT)), [PAIR]),
    Case("array.json.gz", gzip.compress(json.dumps([EXPLICIT]).encode()), [PAIR]),
    Case("explicit.parquet.gz", gzip.compress(table({k: [v] for k, v in EXPLICIT.items()})), [PAIR]),
    Case("bom.jsonl", b"\xef\xbb\xbf" + lines(EXPLICIT), [PAIR]),
    Case("bom.json", b"\xef\xbb\xbf" + json.dumps([EXPLICIT]).encode(), [PAIR]),
    Case("bom.csv", b"\xef\xbb\xbf" + CSV_PAIR, [PAIR]),
    Case("windows_lines.jsonl", lines(EXPLICIT, EXPLICIT | {"prompt": "p"}).replace(b"\n", b"\r\n"), [PAIR, ([user("p")], A, B)]),
    Case("windows_lines.csv", CSV_PAIR.replace(b"\n", b"\r\n"), [PAIR]),
    Case("empty_lines.jsonl", b"\n" + lines(EXPLICIT) + b"\n\n", [PAIR]),
    Case("an_empty_first_line.csv", b"\n" + CSV_PAIR, [PAIR]),
    Case("empty_lines.csv", CSV_PAIR + b"\n\n", [PAIR]),
    Case("line_separator.jsonl", lines(EXPLICIT | {"chosen": "Apple.\u2028Pear.\x85\x0c."}), [([user(Q)], "Apple.\u2028Pear.\x85\x0c.", B)]),
    Case("quoted.csv", CSV + b'"a, ""b""\nc",x,y\n', [([user('a, "b"\nc')], "x", "y")]),
    Case("numbers_and_na.csv", CSV + b"1,NA,null\n", [([user("1")], "NA", "null")]),
    Case("messages_in_json.csv", CSV + b'%b,"[{""role"": ""assistant"", ""content"": ""Apple.""}]",Car.\n' % Q.encode(), [PAIR]),
    Case("messages_of_python.csv", CSV + b"\"[{'role': 'user', 'content': 'Name a fruit.'}]\",Apple.,Car.\n", [PAIR]),
    Case("an_index_without_a_name.csv", b",prompt,chosen,rejected\n0,Name a fruit.,Apple.,Car.\n", [PAIR]),
    Case("spaces_after_commas.csv", CSV.replace(b",", b", ") + b'Name a fruit., "Apple.", Car.\n', [PAIR]),
    Case("parts.csv", CSV_PAIR + b"q,\"[{'type': 'text', 'text': 'Apple.'}]\",b\n", [PAIR], dropped={"unknown_role": 1}),
    Case("lists_of_texts.csv", CSV_PAIR + b'q,"[""Apple.""]",b\n', [PAIR], dropped={"not_a_conversation": 1}),
    Case("a_set.csv", CSV + b'Name a fruit.,"{1, 2, 3}","[1], [2]"\n', [([user(Q)], "{1, 2, 3}", "[1], [2]")]),
    Case("brackets.csv", CSV + b"Name a fruit.,[Apple],{Car\n", [([user(Q)], "[Apple]", "{Car")]),
    Case("nectar.csv", b'prompt,answers\nName a fruit.,"[{\'answer\': \'Apple.\', \'rank\': 1}, {\'answer\': \'Car.\', \'rank\': 2}]"\n', [PAIR]),
    Case("tags_and_names.jsonl", lines(EXPLICIT | {"chosen": "Use <s>old</s> new, and <filename>."}), [([user(Q)], "Use <s>old</s> new, and <filename>.", B)]),
    Case("no_thoughts.jsonl", lines(EXPLICIT | {"chosen": [assistant(A) | {"thinking": "", "reasoning_content": None}]}), [PAIR]),
    Case("a_passage_beside_the_prompt.jsonl", lines(EXPLICIT | {"context": PASSAGE}, EXPLICIT | {"prompt": "p", "context": "short"}), [([user(f"{Q}\n{PASSAGE}")], A, B), ([user("p\nshort")], A, B)]),
    Case("a_passage_beside_the_question.csv", b"question,input,chosen,rejected\n%b,%b,Apple.,Car.\n" % (Q.encode(), PASSAGE.encode()), [([user(f"{Q}\n{PASSAGE}")], A, B)]),
    Case("a_passage_that_the_prompt_has.jsonl", lines(EXPLICIT | {"prompt": f"{PASSAGE}\n{Q}", "context": PASSAGE}), [([user(f"{PASSAGE}\n{Q}")], A, B)]),
    Case("a_passage_beside_whole_conversations.jsonl", lines({"prompt": Q, "context": PASSAGE, "chosen": [user(Q), assistant(A)], "rejected": [user(Q), assistant(B)]}), [PAIR]),
    Case("a_label_named_context.jsonl", lines(EXPLICIT | {"context": "fruit"}), [PAIR]),
    Case(
        "a_passage_of_another_name.jsonl", lines({"ask": Q, "passage": "Red.", "good": A, "bad": B}), [([user(f"{Q}\nRed.")], A, B)],
        data={"columns": {"prompt": "ask", "about": "passage", "chosen": "good", "rejected": "bad"}},
        validation=lines(*({"ask": f"v{n}", "passage": "", "good": "a", "bad": "b"} for n in range(4))),
    ),
    Case("extra_in_one_row.jsonl", lines(EXPLICIT, EXPLICIT | {"prompt": "p", "note": "n"}), [PAIR, ([user("p")], A, B)]),
    Case("a_long_text.csv", CSV + Q.encode() + b"," + b"x" * 200_000 + b",y\n", [([user(Q)], "x" * 200_000, "y")]),
    refused("there_is_none.jsonl", b"", "empty"),
    refused("no_ending", lines(EXPLICIT), "a name without ending", ".parquet"),
    refused("table.xlsx", b"PK", "cannot read .xlsx"),
    refused("only_space.jsonl", b"\n \n", "no rows"),
    refused("header_alone.csv", CSV, "no rows"),
    refused("empty_array.json", b"[]", "no rows"),
    refused("an_object.json", json.dumps({"data": [EXPLICIT]}, indent=1).encode(), "row 1", "not JSON", "array"),
    refused("cut_off.jsonl", lines(EXPLICIT, EXPLICIT)[:-9], "row 2", "not JSON"),
    refused("cut_off.json", json.dumps([EXPLICIT]).encode()[:-9], "not a whole JSON array"),
    refused("cut_off.parquet", table({k: [v] for k, v in EXPLICIT.items()})[:-9], "not a whole .parquet file"),
    refused("cut_off.jsonl.gz", gzip.compress(lines(EXPLICIT))[:-12], "not a whole .jsonl file"),
    refused("not_compressed.jsonl.gz", lines(EXPLICIT), "not a whole .jsonl file"),
    refused("not_compressed.csv.zst", CSV_PAIR, "not a whole .csv file"),
    refused("parquet_by_another_name.jsonl", table({k: [v] for k, v in EXPLICIT.items()}), "row 1", "not"),
    refused("parquet_by_another_name.csv", table({k: [v] for k, v in EXPLICIT.items()}), "csv", "zero bytes"),
    refused("json_by_another_name.parquet", lines(EXPLICIT), "not a whole .parquet file"),
    refused("texts.jsonl", b'"a"\n"b"', "row 1", "str", "one object"),
    refused("rows_of_lists.json", b"[[1], [2]]", "row 1", "list"),
    refused("a_number_among_rows.jsonl", lines(EXPLICIT, 7), "row 2", "int"),
    refused("a_name_twice.jsonl", lines(EXPLICIT) + b'\n{"prompt": "p", "prompt": "q", "chosen": "a", "rejected": "b"}', "row 2", "'prompt'", "twice"),
    refused("a_column_twice.csv", b"prompt,chosen,chosen\nq,a,b\n", "'chosen'", "twice"),
    refused("latin1.jsonl", lines(EXPLICIT) + '\n{"prompt": "é", "chosen": "a", "rejected": "b"}'.encode("latin-1"), "row 2", "UTF-8"),
    refused("latin1.csv", CSV_PAIR + "é,a,b\n".encode("latin-1"), "line 3", "UTF-8"),
    refused("utf16.jsonl", lines(EXPLICIT).decode().encode("utf-16"), "row 1", "UTF-16"),
    refused("utf16.csv", CSV_PAIR.decode().encode("utf-16"), "UTF-16"),
    refused("too_many_fields.csv", CSV_PAIR + b"q,a,b,c\n", "row 2", "4 fields", "3"),
    refused("too_few_fields.csv", CSV_PAIR + b"q,a\n", "row 2", "2 fields"),
    refused("an_open_quote.csv", CSV_PAIR + b'"q,a,b\n', "row 2", "quotes"),
    refused("semicolons.csv", CSV_PAIR.replace(b",", b";"), "commas", "prompt;chosen;rejected"),
    refused("quoted_semicolons.csv", b'"prompt";"chosen";"rejected"\nq;a;b\n', "';' stands between", "commas"),
    refused("text_after_a_quote.csv", CSV_PAIR + b'q,"a" b,c\n', "row 2 (line 3)", "quotes"),
    refused("tabs.csv", CSV_PAIR.replace(b",", b"\t"), "commas"),
    refused("messages_of_numpy.csv", CSV + b"q,\"[{'role': 'user', 'content': 'q'}\n {'role': 'assistant', 'content': 'a'}]\",b\n", "row 1", "'chosen'"),
    refused("messages_cut_off.csv", CSV + b'q,"[{""role"": ""assistant"", ""conte",b\n', "row 1", "'chosen'"),
]

COLUMNS = [
    accepted("no_pictures_and_no_tools", EXPLICIT | {"images": [], "tools": None, "system": 7}, left_out=("images", "tools")),
    accepted("a_list_column", EXPLICIT | {"tags": ["food"]}, left_out=("tags",)),
    accepted("an_object_column", EXPLICIT | {"meta": {"a": 1}}, left_out=("meta",)),
    accepted("a_column_with_gaps", EXPLICIT | {"score": 4.0}, EXPLICIT | {"prompt": "p", "score": None}, pairs=[PAIR, ([user("p")], A, B)]),
    accepted("whole_numbers_with_gaps", EXPLICIT | {"n": 4}, EXPLICIT | {"prompt": "p"}, pairs=[PAIR, ([user("p")], A, B)]),
    accepted("an_id_column", EXPLICIT | {"id": "row-1"}, left_out=("id",)),
    accepted("names_of_later_stages", EXPLICIT | {"reward": 1.0, "correct": True, "policy": "x"}, left_out=("reward", "correct", "policy")),
    accepted("a_huge_number", EXPLICIT | {"n": 2**70}, left_out=("n",)),
    accepted("mixed_kinds", EXPLICIT | {"x": 1}, EXPLICIT | {"prompt": "p", "x": "a"}, pairs=[PAIR, ([user("p")], A, B)], left_out=("x",)),
    accepted("an_empty_column", EXPLICIT | {"x": None}, left_out=("x",)),
    accepted("truth_values_with_gaps", EXPLICIT | {"x": True}, EXPLICIT | {"prompt": "p", "x": None}, pairs=[PAIR, ([user("p")], A, B)]),
    accepted("a_broken_text_beside", EXPLICIT | {"x": "fine"}),
    Case("dates.parquet", table({k: [v] for k, v in EXPLICIT.items()} | {"day": [date(2024, 1, 2)]}), [PAIR], left_out=("day",)),
    Case(
        "categories.parquet",
        table({k: [v] for k, v in EXPLICIT.items()} | {"topic": pa.array(["food"]).dictionary_encode()}), [PAIR],
    ),
    Case("bytes.parquet", table({k: [v] for k, v in EXPLICIT.items()} | {"raw": [b"\xff"]}), [PAIR], left_out=("raw",)),
    Case(
        "infinite.parquet", table({k: [v] for k, v in EXPLICIT.items()} | {"score": [float("inf")]}), [PAIR], left_out=("score",)
    ),
    Case("a_name_that_is_no_text.jsonl", lines(EXPLICIT)[:-1] + b', "\\ud83d": [1]}', [PAIR], left_out=("?",)),
    Case("years_to_come.parquet", table({k: [v] for k, v in EXPLICIT.items()} | {"day": pa.array([10**12], pa.timestamp("s"))}), [PAIR], left_out=("day",)),
    Case("decimals.parquet", table({k: [v] for k, v in EXPLICIT.items()} | {"price": pa.array([Decimal("1.5")])}), [PAIR], left_out=("price",)),
    Case("maps.parquet", table({k: [v] for k, v in EXPLICIT.items()} | {"m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))}), [PAIR], left_out=("m",)),
    refused("unknown_columns.jsonl", lines({"a": 1, "b": 2}), "columns a, b", "data", "columns: {prompt"),
    refused("a_query_beside_texts.jsonl", lines({"query": Q, "chosen": "I like a", "rejected": "I like b"}), "'query' holds the prompt", "columns: {prompt: query"),
    refused("messages_beside_texts.jsonl", lines({"messages": [user(Q)], "chosen": "I like a", "rejected": "I like b"}), "'messages' holds the prompt"),
    refused("one_column_missing.jsonl", lines({"question": Q, "response_1": A, "response_2": B}), "'overall_response'", "columns: {prompt"),
    refused("pku_without_label.jsonl", lines({"prompt": Q, "response_0": A, "response_1": B}), "'better_response_id'"),
    refused("unpaired.jsonl", lines({"prompt": Q, "completion": A, "label": True}), "prompt, completion, label", "columns"),
    refused("answers_without_prompt.jsonl", lines({"chosen": A, "rejected": B}), "'prompt' is missing", "row 1"),
    refused(
        "some_answers_without_prompt.jsonl", lines({"chosen": "It is a.", "rejected": "It is b."}, {"chosen": A, "rejected": B}),
        "'prompt' is missing", "row 2",
    ),
]

CASES = [*SHAPES, *MAPPINGS, *CODINGS, *DROPPED, *FILES, *COLUMNS]
VALIDATION = lines(*({"prompt": f"v{n}", "chosen": "good one", "rejected": "bad"} for n in range(4)))
