"""Conversations, as lists of messages or as transcripts, and the last response in them."""

from typing import Any

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


def flatten(messages: Any) -> Any:
    """The text of a conversation: of one message its content, of several a transcript; anything else as it is."""
    if isinstance(messages, (list, tuple)) or hasattr(messages, "tolist"):
        turns = list(messages)
        if not turns or not all(isinstance(turn, dict) and isinstance(turn.get("content"), str) for turn in turns):
            return None
        if len(turns) == 1:
            return turns[0]["content"]
        names = {"user": "Human", "assistant": "Assistant"}
        return "\n\n".join(f"{names.get(t.get('role'), str(t.get('role')).title())}: {t['content']}" for t in turns)
    return messages


def split_last(conversation: Any) -> tuple[Any, Any]:
    """A conversation as (all before the last response, the last response); (None, None) where there is no such split."""
    if isinstance(conversation, str):
        head, mark, response = conversation.rpartition(ASSISTANT)
        if not mark:
            return None, None
        # A single question stands bare; of a longer exchange the speakers' names are needed to read it.
        single = head.count(HUMAN) == 1 and ASSISTANT not in head and head.startswith(HUMAN)
        return (head[len(HUMAN) :] if single else head).strip(), response.strip()
    turns = list(conversation) if hasattr(conversation, "__iter__") else []
    return (flatten(turns[:-1]), flatten(turns[-1:])) if len(turns) > 1 else (None, None)
