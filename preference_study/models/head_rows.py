"""The rows of a batch before a model's head, as one matrix."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel


@contextmanager
def rows_together(model: PreTrainedModel) -> Iterator[None]:
    """While it is open, the head over the vocabulary reads the rows of a batch as one matrix.

    Of the last position of each prompt they lie apart in memory, and PyTorch would multiply them one by one where the head is not
    to be trained, as in a model whose adapters were merged, with a copy of the head for each: 6 GiB for a hundred rows.
    """
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda head, inputs: (inputs[0].contiguous(),))
    try:
        yield
    finally:
        hook.remove()
