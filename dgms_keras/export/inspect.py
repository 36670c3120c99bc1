"""`inspect_tflite`: what a `.tflite` file holds, weight by weight, read from the file alone."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.chain_reader import TABLES, Chain, ChainReader
from dgms_keras.export.errors import FormatVersionError, InvalidFileError
from dgms_keras.export.report import as_text, build_table
from dgms_keras.format import metadata

# Dense constants with fewer elements are not listed: shapes, axes, biases of small layers.
LISTED_ELEMENTS = 256


@dataclasses.dataclass(frozen=True)
class LayerInfo:
    """One index + codebook weight.

    Args:
        name: the layer and its weight, from the metadata, else the tensor's name.
        op: operator that reads it.
        shape: in the operator's layout; `(rows, columns)` for a table of which rows are gathered.
        bits: bits per code.
        codebooks: how many codebooks it has (channel groups).
        codes: codebook entries that occur.
        count: number of weights.
        zeros: how many decode to exactly 0.
        file_bytes: bytes of its constants; `shared` if another weight of the file uses the same ones.
        dense_bytes: size as float32.
        entropy_bits: Shannon entropy of its codes, bits per weight: what an ideal entropy coder would reach.
        entropy_bytes: the same for the whole weight, codebook and scale included.
        scaled: whether per-channel factors follow the lookup.
        shared: whether its constants were counted for an earlier row.
        codebook_type: `"float32"` or, in int8 files, `"int8"`.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    bits: int
    codebooks: int
    codes: int
    count: int
    zeros: int
    file_bytes: int
    dense_bytes: int
    entropy_bits: float
    entropy_bytes: int
    scaled: bool
    shared: bool
    codebook_type: str = "float32"


@dataclasses.dataclass(frozen=True)
class DenseInfo:
    """One dense constant, and why it is not compressed."""

    name: str
    op: str
    shape: tuple[int, ...]
    dtype: str
    file_bytes: int
    reason: str

    @property
    def is_vector(self) -> bool:
        """Whether it has at most one dimension that is not 1: a bias, a scale."""
        return sum(d > 1 for d in self.shape) < 2


@dataclasses.dataclass(frozen=True)
class InspectReport:
    """What a file holds.

    Args:
        path: the file.
        file_bytes: its size.
        activations: `"float32"` or `"int8"`, from the metadata; None without an entry.
        format_version: `"1.0"`, or None for a file without a DGMS metadata entry.
        producer: program and version that wrote it, or None.
        layers: index + codebook weights.
        dense: dense constants of at least `LISTED_ELEMENTS` elements.
        table_bytes: the lookup tables that all layers share.
        other_bytes: everything else: biases, shapes, the graph itself.
    """

    path: str
    file_bytes: int
    activations: str | None
    format_version: str | None
    producer: str | None
    layers: tuple[LayerInfo, ...]
    dense: tuple[DenseInfo, ...]
    table_bytes: int
    other_bytes: int

    @property
    def compressed_bytes(self) -> int:
        """Bytes of all index + codebook weights, shared ones once."""
        return sum(layer.file_bytes for layer in self.layers if not layer.shared)

    @property
    def dense_bytes(self) -> int:
        """Size of those weights as float32."""
        return sum(layer.dense_bytes for layer in self.layers if not layer.shared)

    @property
    def entropy_bytes(self) -> int:
        """The entropy bound of those weights."""
        return sum(layer.entropy_bytes for layer in self.layers if not layer.shared)

    def to_json_dict(self) -> dict[str, Any]:
        """The report as JSON types, totals included."""
        totals = {name: getattr(self, name) for name in ("compressed_bytes", "dense_bytes", "entropy_bytes")}
        return {**dataclasses.asdict(self), "totals": totals}

    def table(self) -> Any:
        """The report as a rich table."""
        columns = (
            "weight",
            "op",
            "shape",
            "bits",
            "codes",
            "zeros",
            "bytes",
            "dense",
            "entropy b/w",
            "entropy bytes",
            "note",
        )
        rows: list[tuple[Any, ...]] = []
        for layer in self.layers:
            notes = ["int8 codebook"] * (layer.codebook_type == "int8") + ["per-channel scale"] * layer.scaled
            notes += [f"{layer.codebooks} codebooks"] * (layer.codebooks > 1)
            notes += ["shares its constants"] * layer.shared
            codes = (layer.bits, layer.codes, f"{100 * layer.zeros / max(layer.count, 1):.0f}%")
            sizes = (layer.file_bytes, layer.dense_bytes, round(layer.entropy_bits, 3), layer.entropy_bytes)
            rows.append((layer.name, layer.op, "x".join(map(str, layer.shape)), *codes, *sizes, ", ".join(notes)))
        for entry in (d for d in self.dense if not d.is_vector):
            name = entry.name.split(";")[0]  # the converter joins the names of all operators it merged
            shape = "x".join(map(str, entry.shape))
            rows.append((name, entry.op, shape, None, None, "-", entry.file_bytes, None, None, None, entry.reason))
        vectors = [d for d in self.dense if d.is_vector]
        if vectors:
            size, note = sum(d.file_bytes for d in vectors), "biases and other vectors are never encoded"
            rows.append((f"{len(vectors)} vectors", "-", "-", None, None, "-", size, None, None, None, note))
        return build_table(f"{self.path} ({self.version_line()})", columns, rows, self._footer())

    def version_line(self) -> str:
        """Format and producer in words."""
        if self.format_version is None:
            return "no DGMS layer" if not self.layers else "DGMS layers without a metadata entry"
        return f"DGMS format {self.format_version}, {self.activations} activations, written by {self.producer or 'an unnamed program'}"

    def _footer(self) -> str:
        lines = [f"file: {self.file_bytes:,} bytes"]
        if not self.layers:
            lines.append("no DGMS layer: no weight of this file is stored as index + codebook")
            return "\n".join(lines)
        ratio = self.dense_bytes / max(self.compressed_bytes, 1)
        count = sum(layer.count for layer in self.layers if not layer.shared)
        lines += [
            f"index + codebook weights: {self.compressed_bytes:,} bytes for {count:,} weights, "
            f"dense {self.dense_bytes:,} ({ratio:.1f}x); entropy bound {self.entropy_bytes:,}",
            f"dense constants listed: {sum(d.file_bytes for d in self.dense):,} bytes; shared tables: {self.table_bytes:,}; "
            f"everything else (biases, graph): {self.other_bytes:,}",
        ]
        return "\n".join(lines)

    def __str__(self) -> str:
        return as_text(self.table())


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The file's bytes.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: with the path.
    """
    with open(path, "rb") as file:
        return file.read()


def parse(data: bytes, path: str | os.PathLike[str] = "") -> tuple[Any, str | None, dict[str, Any]]:
    """The schema's model, its DGMS format version (None without an entry) and the entry's contents.

    Raises:
        InvalidFileError: no TensorFlow Lite model, or damaged. FormatVersionError: of a newer major version.
    """
    where = f" (file {os.fspath(path)!r})" if path else ""
    try:
        model = fio.read_model(data)
    except InvalidFileError as error:
        raise InvalidFileError(f"{error}{where}") from None
    for entry in model.metadata or ():
        if entry.name == metadata.ENTRY_NAME:
            payload = model.buffers[entry.buffer].data
            try:
                version, body = metadata.decode(b"" if payload is None else bytes(payload))
            except metadata.NewerVersionError as error:
                raise FormatVersionError(f"{error}{where}") from None
            except ValueError as error:
                raise InvalidFileError(f"{error}{where}") from None
            return model, f"{version[0]}.{version[1]}", body
    return model, None, {}


def chains(model: Any) -> list[tuple[int, str, Chain]]:
    """Every decode chain of a model: subgraph, name of the operator that reads it, chain."""
    found = []
    for number, graph in enumerate(model.subgraphs):
        reader = ChainReader(model, graph)
        inside: set[int] = set()
        # From the end: the longest chain is met first, and its inner tensors are not chains of their own.
        for position in range(len(graph.operators) - 1, -1, -1):
            if position in inside:
                continue
            op = graph.operators[position]
            rows = [reader.read_rows(t) for t in op.outputs if fio.op_name(model, op) == "RESHAPE"]
            weights = [reader.read(t) for t in op.inputs if t >= 0]
            for name, chain in (*(("GATHER", c) for c in rows), *((fio.op_name(model, op), c) for c in weights)):
                if chain is not None and not inside.issuperset(chain.operators):
                    inside.update(chain.operators)
                    found.append((number, name, chain))
    return found[::-1]


def inspect_tflite(path: str | os.PathLike[str]) -> InspectReport:
    """Reads a `.tflite` file, of this project or any other.

    Args:
        path: the file.

    Returns:
        Bits, codes, zeros, bytes and entropy bound per layer; what is dense, and why; totals. `print` shows it as a table.

    Raises:
        InvalidFileError: not a TensorFlow Lite model, truncated or damaged. FormatVersionError: written in a newer major
            version of the format. OSError: the file cannot be read.
    """
    data = read_file(path)
    model, version, body = parse(data, path)
    names = weight_names(body)
    layers: list[LayerInfo] = []
    used_constants: set[int] = set()
    seen: set[frozenset[int]] = set()
    for number, op, chain in chains(model):
        graph = model.subgraphs[number]
        buffers = frozenset(graph.tensors[t].buffer for t in chain.constants)
        layers.append(_layer_info(model, graph, op, chain, names, buffers in seen))
        seen.add(buffers)
        used_constants |= buffers
    dense = _dense_infos(model, used_constants, _kept(body))
    tables = _table_bytes(model)
    listed = sum(layer.file_bytes for layer in layers if not layer.shared) + sum(d.file_bytes for d in dense) + tables
    producer = body.get("producer")
    return InspectReport(
        path=os.fspath(path),
        file_bytes=len(data),
        activations=None if version is None else str(body.get("activations", "float32")),
        format_version=version,
        producer=producer if isinstance(producer, str) else None,
        layers=tuple(layers),
        dense=tuple(dense),
        table_bytes=tables,
        other_bytes=len(data) - listed,
    )


def weight_names(body: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Tensor name -> layer and weight, from the metadata; ill-formed entries are passed over."""
    entries = body.get("layers")
    found = {}
    for e in entries if isinstance(entries, list) else ():
        if isinstance(e, dict) and all(isinstance(e.get(k), str) for k in ("layer", "weight")):
            found[str(e.get("tensor", f"{e['layer']}/{e['weight']}"))] = (e["layer"], e["weight"])
    return found


def _kept(body: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Tensor name -> (`layer/weight`, reason) of the weights that were kept dense."""
    entries = body.get("kept")
    return {
        e["tensor"]: (f"{e['layer']}/{e['weight']}", e["reason"])
        for e in (entries if isinstance(entries, list) else ())
        if isinstance(e, dict) and all(isinstance(e.get(k), str) for k in ("tensor", "layer", "weight", "reason"))
    }


def _layer_info(
    model: Any, graph: Any, op: str, chain: Chain, names: dict[str, tuple[str, str]], shared: bool
) -> LayerInfo:
    used = chain.codes.astype(np.int64) + (0 if chain.offset is None else chain.offset)
    histogram = np.bincount(used.reshape(-1), minlength=chain.codebook.size)
    # The ideal coder knows each codebook's own frequencies.
    books = histogram.reshape(-1, 2**chain.bits) if chain.codebook.size % 2**chain.bits == 0 else histogram[None]
    entropy = 0.0
    for book in books:
        share = book[book > 0] / max(int(book.sum()), 1)
        entropy -= float(book.sum()) * float((share * np.log2(share)).sum())
    name = graph.tensors[chain.tensor].name or f"tensor {chain.tensor}"
    size = sum(_bytes(model, graph.tensors[t]) for t in set(chain.constants))
    extras = size - sum(
        _bytes(model, graph.tensors[t])
        for t in set(chain.constants)
        if graph.tensors[t].type == fio.schema.TensorType.UINT8
    )
    return LayerInfo(
        name="/".join(names[name]) if name in names else name,
        op=op,
        shape=tuple(chain.codes.shape),
        bits=chain.bits,
        codebooks=len(books),
        codes=int(np.count_nonzero(histogram)),
        count=chain.codes.size,
        zeros=int(np.count_nonzero(chain.decode() == 0)),
        file_bytes=size,
        dense_bytes=4 * chain.codes.size,
        entropy_bits=max(entropy, 0.0) / max(chain.codes.size, 1),
        entropy_bytes=int(np.ceil(max(entropy, 0.0) / 8)) + extras,
        scaled=chain.scale is not None,
        shared=shared,
        codebook_type=chain.codebook.dtype.name,
    )


def _bytes(model: Any, tensor: Any) -> int:
    data = model.buffers[tensor.buffer].data
    return 0 if data is None else len(data)


def _table_bytes(model: Any) -> int:
    found = {
        t.buffer: value.nbytes
        for graph in model.subgraphs
        for t in graph.tensors
        if t.type == fio.schema.TensorType.INT32
        and (value := fio.constant(model, t)) is not None
        and any(np.array_equal(value, table) for _, table in TABLES)
    }
    return sum(found.values())


def _dense_infos(model: Any, compressed: set[int], kept: dict[str, tuple[str, str]]) -> list[DenseInfo]:
    """Constants that hold weights: at least two dimensions, or many elements."""
    found: dict[int, DenseInfo] = {}
    for graph in model.subgraphs:
        readers = _readers(model, graph)
        for index, tensor in enumerate(graph.tensors):
            size = _bytes(model, tensor)
            shape = tuple(tensor.shape or ())
            dtype = fio.type_name(tensor.type)
            known = kept.get(tensor.name or "")
            if not size or tensor.buffer in compressed or tensor.buffer in found or index not in readers:
                continue
            large = math.prod(shape) >= LISTED_ELEMENTS and dtype not in (
                "INT32",
                "INT64",
                "STRING",
                "BOOL",
            )
            if not large and known is None:
                continue
            name, reason = known or (tensor.name or f"tensor {index}", _guess(readers[index], shape, dtype))
            found[tensor.buffer] = DenseInfo(name, readers[index], shape, dtype.lower(), size, reason)
    return list(found.values())


def _readers(model: Any, graph: Any) -> dict[int, str]:
    readers: dict[int, str] = {}
    for op in graph.operators:
        for slot, tensor in enumerate(op.inputs):
            name = fio.op_name(model, op)
            readers.setdefault(tensor, f"{name} (bias)" if slot == 2 and name in _WITH_BIAS else name)
    return readers


_WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_3D")


def _guess(op: str, shape: Sequence[int], dtype: str) -> str:
    if op.endswith("(bias)"):
        return "a bias: biases are never encoded"
    if dtype == "INT8" and sum(d > 1 for d in shape) > 1:
        return "dense int8: the layer was not quantised to fewer bits"
    if dtype != "FLOAT32":
        return f"{dtype.lower()}: not a float32 weight"
    if sum(d > 1 for d in shape) < 2:
        return "a vector (bias, scale or table), not a weight matrix"
    return "dense float32: the layer was not quantised"
