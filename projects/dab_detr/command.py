"""The command line that all tools share.

Every tool takes `--config-file` and overrides of the config: `a.b=value`, with a yacs yaml also `A.B value`. Options
may come anywhere. Overrides come after all other inputs. If a tool takes a list of inputs, the list ends at the first
word that looks like an override and is not the name of a file.

The exit status is 0 for success, 1 if a tool found something wrong, 2 for bad use, and 130 after Ctrl-C. An error is
one line on stderr.
"""

import argparse
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

# A user can do nothing about these warnings. Libraries cause them while they are imported.
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)

FINDINGS, BAD_USE, INTERRUPTED = 1, 2, 130
PICTURE = r"[A-Z0-9_]*\.(JPE?G|PNG|TIFF?|BMP|GIF|WEBP|HEIC)$"  # as cameras name them, such as IMG_0001.JPG
OVERRIDE = re.compile(rf"[+~]?[A-Za-z_][\w.@/]*=|(?!{PICTURE})[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*$")


def config_parser(
    description: str, help: str = "a LazyConfig or a yacs config of Detectron2"
) -> argparse.ArgumentParser:
    """A parser with `--config-file`, to which a tool adds its own arguments."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", metavar="FILE", help=help)
    return parser


def parse(
    parser: argparse.ArgumentParser,
    argv: list[str] | None,
    inputs: str | None = None,
    *,
    default_config: str | None = None,
) -> argparse.Namespace:
    """Parse a command line. Overrides become `opts`, and `~` is expanded in all other arguments.

    inputs: the positional argument that is a list, if the tool has one.
    default_config: the config to use if there are inputs and no `--config-file`.

    Exits with status 2 for bad use, such as overrides without a config.
    """
    if inputs is None:
        parser.add_argument("opts", nargs="*", metavar="key=value", help="overrides of the config")
    args = parser.parse_intermixed_args(argv)
    if inputs is not None:
        words = getattr(args, inputs)
        overrides = (i for i, x in enumerate(words) if OVERRIDE.match(x) and not os.path.exists(x))
        end = next(overrides, len(words))
        setattr(args, inputs, words[:end])
        args.opts = words[end:]
        if args.config_file is None and words[:end]:
            args.config_file = default_config
    if args.opts and not args.config_file:
        parser.error(f"{args.opts[0]!r} is an override, and there is no config to change: add --config-file")
    return expand_home(args)


def expand_home(args: argparse.Namespace) -> argparse.Namespace:
    """Expand `~` in all arguments except overrides, in place. A shell does not expand `--output=~/folder`."""
    for name, value in vars(args).items():
        if isinstance(value, list) and name != "opts":
            setattr(args, name, [os.path.expanduser(x) if isinstance(x, str) else x for x in value])
        elif isinstance(value, str | Path):
            setattr(args, name, type(value)(os.path.expanduser(value)))
    return args


def print_any_text() -> None:
    """Let stdout and stderr write escapes for what they cannot encode, such as a file name that is not UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run(work: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> int:
    """Run `work` and return the exit status. An error that the user can fix becomes one line on stderr."""
    print_any_text()
    try:
        return work(args) or 0
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_USE
    except KeyboardInterrupt as stopped:
        print(f"stopped by {str(stopped) or 'Ctrl-C'}", file=sys.stderr)
        return INTERRUPTED
