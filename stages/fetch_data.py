"""One hub data set's split -> a parquet file that data.train or data.val can name.

    python -m stages.fetch_data data/train_30k.parquet

What to fetch is the entry of data.hub in params.yaml whose `file` is given. A local data set folder works as a name too.
"""

from datasets import load_dataset
from datasets.exceptions import DatasetsError

from preference_study.artifacts import write_table
from preference_study.boundary import run
from preference_study.errors import BadInput
from preference_study.params import load_params


def main(file: str) -> None:
    params = load_params()
    source = next((source for source in params.data.hub if source.file == file), None)
    if source is None:
        raise BadInput(f"{file}: no entry of data.hub in params.yaml has it as its file")
    try:
        # Only data formats are read: this version of datasets runs no loading script.
        data = load_dataset(source.name, source.config, split=source.split, revision=source.revision)
    except (OSError, ValueError, DatasetsError) as error:
        raise BadInput(
            f"data.hub: {source.name!r} (config {source.config}, split {source.split}, revision {source.revision}) "
            f"cannot be loaded: {error.__cause__ or error}"
        ) from None
    write_table(file, data.to_pandas())
    print(f"{file}: {len(data)} rows of {source.name}, split {source.split}")


if __name__ == "__main__":
    run(main)
