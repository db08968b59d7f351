"""The command line: parse, call, and turn every error into one sentence and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
import warnings
from typing import Any

import typer

from gradscope import __version__, plugins
from gradscope.cli import _output
from gradscope.cli._group import COMMANDS, Group
from gradscope.cli._progress import note, silence
from gradscope.cli._signals import INTERRUPTED, TERMINATED, Terminated, terminate
from gradscope.errors import GradscopeError, InputError, Interrupted

PURPOSE = (
    "Diagnose vanishing and exploding gradients in RNNs, LSTMs, GRUs and state-space models, from a PyTorch checkpoint "
    "or a cell name."
)
EXAMPLES = """Examples:

  gradscope analyze --cell gru --steps 200
  gradscope analyze model.pt --data batch.npy -o report.png
"""

# The root of what typer raises, whether it brings its own click or imports it.
CLICK_ERROR: Any = typer.BadParameter.__mro__[2]


def build() -> typer.Typer:
    """Return the application with all its commands."""
    app = typer.Typer(
        name="gradscope",
        cls=Group,
        help=PURPOSE,
        epilog="Start with: gradscope analyze --cell gru --steps 200",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode=None if os.environ.get("TERM") == "dumb" else "rich",
    )

    @app.callback(invoke_without_command=True)
    def root(
        context: typer.Context,
        version: bool = typer.Option(False, "--version", help="Print the version.", show_default=False),
        debug: bool = typer.Option(False, "--debug", help="Show the traceback of every error.", show_default=False),
        no_plugins: bool = typer.Option(
            False, "--no-plugins", help="Ignore plug-ins of other packages.", show_default=False
        ),
    ) -> None:
        if version:
            _output.write_stdout(f"gradscope {__version__}\n")
            raise typer.Exit(0)
        if context.invoked_subcommand is None:
            text = f"usage: gradscope COMMAND [OPTIONS]\n\n{PURPOSE}\n\nCommands: {', '.join(COMMANDS)}\n\n{EXAMPLES}"
            note(f"{text}\nDetails: gradscope --help")
            raise typer.Exit(2)

    return app


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    if "--no-plugins" in arguments:
        os.environ[plugins.NO_PLUGINS] = "1"
    arguments = [a for a in arguments if a not in ("--debug", "--no-plugins")]
    signal.signal(signal.SIGTERM, terminate)
    for stream in (sys.stdin, sys.stderr):
        if stream is None:  # closed: no file that is opened later may get its number
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.exit(_say("error: standard output is closed, the result cannot be written", "", 4))
    with warnings.catch_warnings():
        warnings.showwarning = _tell_plugins(warnings.showwarning)
        code = _guarded(arguments, debug)
    _leave(code)


def _guarded(arguments: list[str], debug: bool) -> int:
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return _say("interrupted", "", INTERRUPTED)
    except Terminated:
        return _say("terminated", "", TERMINATED)
    except Interrupted as stop:  # before there was anything to keep
        return _say("terminated" if stop.exit_code == TERMINATED else "interrupted", "", stop.exit_code)
    except GradscopeError as error:
        if debug:
            _trace()
        return _say(f"error: {error.message}", error.hint, error.exit_code)
    except MemoryError:
        hint = "use fewer steps, sequences or units; --max-memory sets a limit that is checked before the run"
        return _say("error: out of memory", hint, 5)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            silence(sys.stdout)
            return _say(f"error: cannot write: {error.strerror}", "free disk space, or choose another path", 5)
        user_file = sys.modules.get("gradscope.checking.user_file")
        if user_file is not None and (sentence := user_file.error_in_file(error)):
            if debug:
                _trace()
            return _say(f"error: {sentence}", "gradscope --debug shows the traceback", InputError.exit_code)
        _trace()
        return _say("internal error: this is a bug in gradscope", "please report it with the lines above", 1)


def _run(arguments: list[str]) -> int:
    try:
        returned = typer.main.get_command(build()).main(arguments, prog_name="gradscope", standalone_mode=False)
        if returned == INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
        return returned if isinstance(returned, int) else 0
    except CLICK_ERROR as error:
        return _say(*_in_our_words(error), 2)
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    except SystemExit as stop:
        # typer ends with 1 when the reader of a help text has gone away
        closed = isinstance(stop.__context__, BrokenPipeError)
        return _output.CLOSED_PIPE if closed else stop.code if isinstance(stop.code, int) else 0


def _in_our_words(error: Any) -> tuple[str, str]:
    """Return a message and a hint for what typer refused."""
    context, name = getattr(error, "ctx", None), getattr(error, "option_name", None)
    text = str(error.format_message())
    message = text[:1].lower() + text[1:].removesuffix(".")
    if context is None:
        return f"error: {message}", "gradscope --help lists commands and options"
    path = str(context.command_path)
    options = {o.lstrip("-") for p in context.command.params for o in p.opts if o.startswith("--")}
    hint = f"{path} --help lists the options"
    if name and message.startswith("no such option"):
        meant = plugins.suggest(name.lstrip("-"), sorted(options)).replace("mean ", "mean --")
        return f"error: there is no option '{name}'", f"{meant}{hint}"
    if message.startswith("no such command"):
        typed = text.split("'")[1]
        known = [*COMMANDS]
        return f"error: there is no command '{typed}'", f"{plugins.suggest(typed, known)}known: {', '.join(known)}"
    return f"error: {message}", hint


def _tell_plugins(otherwise: Any) -> Any:
    """Show warnings about plug-ins as sentences, and all others as Python does."""

    def show_warning(message: Any, category: Any, *rest: Any, **more: Any) -> None:
        if not issubclass(category, plugins.PluginWarning):
            otherwise(message, category, *rest, **more)
        elif "_GRADSCOPE_COMPLETE" not in os.environ:
            note(f"warning: {message}\nhint: --no-plugins ignores plug-ins of other packages")

    return show_warning


def _say(message: str, hint: str, code: int) -> int:
    note(message + (f"\nhint: {hint}" if hint else ""))
    return code


def _trace() -> None:
    note(traceback.format_exc().rstrip())


def _leave(code: int) -> None:
    """Exit; a standard output that cannot be flushed any more changes the code, not the manners."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            silence(sys.stdout)
            code = code or _output.CLOSED_PIPE
        except OSError as error:
            silence(sys.stdout)
            code = code or _say(f"error: cannot write to standard output: {error.strerror}", "", 5)
    sys.exit(code)
