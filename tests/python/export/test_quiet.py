"""`captured_stderr`: everything is caught inside the block, and nothing of it is left behind."""

import logging
import os
import sys

from dgms_keras.export.quiet import captured_stderr


def test_python_and_c_side_are_caught(capfd):
    with captured_stderr() as captured:
        print("from python", file=sys.stderr)
        os.write(2, b"from C++\n")
    assert "from python" in captured.text and "from C++" in captured.text
    print("afterwards", file=sys.stderr)
    os.write(2, b"after C++\n")
    assert capfd.readouterr().err.splitlines() == ["afterwards", "after C++"]


def test_a_log_handler_made_inside_works_afterwards(capfd):
    logger = logging.Logger("made inside")
    with captured_stderr() as captured:
        logger.addHandler(logging.StreamHandler())  # keeps the sys.stderr of this moment
        logger.warning("inside")
    logger.warning("outside")
    assert "inside" in captured.text
    assert capfd.readouterr().err == "outside\n"


def test_an_error_passes_through_with_the_text_kept():
    try:
        with captured_stderr() as captured:
            print("why it failed", file=sys.stderr)
            raise ValueError("failed")
    except ValueError:
        assert "why it failed" in captured.text
    else:
        raise AssertionError("the error was swallowed")
