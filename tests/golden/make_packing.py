"""Writes packing.txt by an oracle of its own: string arithmetic on single bits, sharing no code with dgms_keras.

Run it to regenerate the file; test_packing.py checks that the file on disk is what this script writes.

Line format, made to be read by `stream >> word`: `#` starts a comment line. A case is
    case NAME BITS COUNT
    codes HEX            one hexadecimal digit per code ("-" if COUNT is 0)
    PLANE HEX            two digits per byte; packed for 2 and 4 bits, low then high for 3 ("-" if empty)
and a table is
    table NAME COLUMNS
    values HEX           256 * COLUMNS digits, row-major
"""

from __future__ import annotations

import random
from pathlib import Path

PLANES = {2: [("packed", 0, 2)], 3: [("low", 0, 2), ("high", 2, 1)], 4: [("packed", 0, 4)]}
BLOCK = {2: 4, 3: 8, 4: 2}
TABLES = [("pairs4", 4, 0), ("pairs2", 2, 0), ("high3", 1, 2)]


def plane_hex(codes: list[int], bits: int, first: int, width: int) -> str:
    padded = codes + [0] * (-len(codes) % BLOCK[bits])
    stream = ""  # bit 0 of byte 0 first
    for code in padded:
        stream += f"{code:08b}"[::-1][first : first + width]
    return "".join(f"{int(stream[i : i + 8][::-1], 2):02x}" for i in range(0, len(stream), 8)) or "-"


def case(name: str, bits: int, codes: list[int]) -> str:
    lines = [f"case {name} {bits} {len(codes)}", "codes " + ("".join(f"{c:x}" for c in codes) or "-")]
    lines += [f"{plane} {plane_hex(codes, bits, first, width)}" for plane, first, width in PLANES[bits]]
    return "\n".join(lines)


def table(name: str, width: int, shift: int) -> str:
    columns = 8 // width
    digits = ""
    for v in range(256):
        bits = f"{v:08b}"[::-1]
        for j in range(columns):
            digits += f"{int(bits[width * j : width * (j + 1)][::-1], 2) * 2**shift:x}"
    return f"table {name} {columns}\nvalues {digits}"


def text() -> str:
    rng = random.Random(20220717)
    parts = ["# Golden vectors of the packed code stream: FORMAT.md, sections 1 and 2. Written by make_packing.py."]
    parts += [
        case("worked_example", 4, [3, 0, 15, 9, 1]),
        case("worked_example", 2, [1, 2, 3, 0, 2]),
        case("worked_example", 3, [5, 3, 0, 7, 1, 6, 2, 4, 7]),
    ]
    for bits in (2, 3, 4):
        top = 2**bits - 1
        for count in (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 27, 64, 143, 256):
            parts.append(case(f"random_{count}", bits, [rng.randint(0, top) for _ in range(count)]))
        for position in range(9):
            for bit in range(bits):  # one bit set: it must show up in exactly one place
                parts.append(case(f"one_hot_{position}_{bit}", bits, [2**bit * (i == position) for i in range(9)]))
        parts.append(case("all_ones", bits, [top] * 11))
    parts += [table(*t) for t in TABLES]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("packing.txt").write_text(text())
