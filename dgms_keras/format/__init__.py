"""The file format: FORMAT.md (normative), the bit stream (`packing`) and the metadata entry (`metadata`)."""
