"""Videos of any tfds builder whose examples have `video` and `label`, such as ucf101."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from vid3d.datasets.split_names import describe, splits_by_name
from vid3d.datasets.videos import ListedVideo, Listing
from vid3d.errors import UserError
from vid3d.text import first_few, shorten
from vid3d.tf import quiet_tensorflow


def load(data: ConfigDict) -> Any:
    """The builder `data.builder`, with its data on disk.

    Raises:
        UserError: there is no such builder, its examples are not labelled videos, or its data is
            not on disk.
    """
    quiet_tensorflow()
    import tensorflow_datasets as tfds

    if not data.builder:
        raise UserError('data.source=tfds needs data.builder, such as "ucf101"')
    try:
        builder = tfds.builder(data.builder, data_dir=data.root or None)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise UserError(f"data.builder={data.builder!r}: {first_line(error)}") from error
    features = builder.info.features
    names = sorted(features) if hasattr(features, "keys") else []
    if "video" not in names or "label" not in names:
        raise UserError(
            f"data.builder={data.builder!r} has the features {first_few(names)}, not video and "
            "label"
        )
    if not builder.is_prepared():
        where = f" --data_dir={shlex.quote(data.root)}" if data.root else ""
        raise UserError(
            f"data.builder={data.builder!r}: {builder.data_dir} holds no prepared data, and "
            f"nothing is downloaded unasked: run `tfds build {data.builder}{where}` first, or set "
            "data.root to the data_dir where it was prepared"
        )
    return builder


def first_line(error: Exception) -> str:
    """The first line of an error, shortened."""
    return shorten((str(error).strip() or type(error).__name__).splitlines()[0], 300)


def listing(data: ConfigDict) -> Listing:
    """Every example of the builder, as "builder/split/000123".

    The builder's train, validation and test splits are kept; a single split is left open.

    Raises:
        UserError: see `load`.
    """
    builder = load(data)
    names = builder.info.features["label"].names
    split_of = splits_by_name(builder.info.splits)
    videos = []
    for path, label in labels(builder):
        split = split_of.get(path.split("/")[1], "")
        videos.append(ListedVideo(path, names[label], split=split))
    if not videos:
        raise UserError(f"data.builder={data.builder!r} has no examples")
    notes = []
    if {video.split for video in videos} == {"train"} or any(not v.split for v in videos):
        videos = [ListedVideo(video.path, video.label) for video in videos]
        if others := sorted(set(builder.info.splits) - set(split_of)):
            notes.append(
                "the builder's splits are not used, since these are not named for training, "
                f"validation or test: {first_few(map(repr, others))}"
            )
    elif any(name != split for name, split in split_of.items()):
        notes.append(f"the builder's splits by their names: {describe(split_of)}")
    kind = f"tfds {builder.info.full_name}"
    return Listing(str(builder.data_dir), tuple(videos), kind, tuple(notes))


def examples(builder: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every example as numpy arrays with its path, "builder/split/000123", in a fixed order.

    The frames of a video may come as a list.
    """
    import tensorflow_datasets as tfds

    for split in sorted(builder.info.splits):
        if is_array_record(builder):
            found = builder.as_data_source(split)
        else:
            found = tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))
        yield from zip(paths(builder, split), found, strict=False)


def labels(builder: Any) -> Iterator[tuple[str, int]]:
    """The label of every example, in the same order; no frame is decoded."""
    import tensorflow_datasets as tfds

    only_labels = tfds.decode.PartialDecoding({"label": True})
    encoded = tfds.decode.DeserializeMethod.DESERIALIZE_NO_DECODE
    for split in sorted(builder.info.splits):
        if is_array_record(builder):
            protos = builder.as_data_source(split, deserialize_method=encoded)
            found = (proto.features.feature["label"].int64_list.value[0] for proto in protos)
        else:
            dataset = builder.as_dataset(split=split, shuffle_files=False, decoders=only_labels)
            found = (int(example["label"]) for example in tfds.as_numpy(dataset))
        yield from zip(paths(builder, split), found, strict=False)


def is_array_record(builder: Any) -> bool:
    """Whether a builder is stored as ArrayRecord, which tfds does not read as a tf.data.Dataset."""
    import tensorflow_datasets as tfds

    return builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD


def paths(builder: Any, split: str) -> Iterator[str]:
    """The paths of a split's examples."""
    return (f"{builder.name}/{split}/{number:06d}" for number in itertools.count())
