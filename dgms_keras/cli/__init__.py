"""The command line: `dgms demo | compress | export | inspect | verify | bench`. `dgms COMMAND --help` shows an example.

arguments.py: what may be given.  commands.py: what is done and printed; the work is done by the public functions of the package,
which are imported only once the arguments are known to be good.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

from dgms_keras.cli.arguments import make_parser
from dgms_keras.cli.commands import message


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit status: 0 done, 1 the work failed or a check did not hold, 2 wrong arguments."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is loaded: its start-up lines are not ours
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"dgms {arguments.command}: {message}", file=sys.stderr)
            return arguments.run(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what read our output has gone
        return 1
    except Exception as error:
        if arguments.traceback:
            raise
        print(f"dgms {arguments.command}: {message(error)}", file=sys.stderr)
        return 1
