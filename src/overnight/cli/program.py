"""The program `overnight`: which commands exist, and how a call of it ends."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click

from overnight import __version__
from overnight.cli import failure
from overnight.errors import OvernightError


class Lazy(NamedTuple):
    """A command that is imported when it is called."""

    # "module:attribute"
    target: str
    about: str


COMMANDS: Mapping[str, Lazy] = {
    "serve": Lazy("overnight.cli.serve:serve", "Run the service."),
    "batches": Lazy("overnight.cli.batches:batches", "Create, list, read, cancel, delete batches."),
    "watch": Lazy("overnight.cli.watch:watch", "Follow a batch until it has ended."),
    "webhooks": Lazy("overnight.cli.webhooks:webhooks", "Be told when batches have ended."),
    "estimate": Lazy("overnight.cli.estimate:estimate", "Check a file and say what it will cost."),
    "price": Lazy("overnight.cli.price:price", "Say what a job costs, batch against standard."),
    "advise": Lazy("overnight.cli.advise:advise", "Say whether a job suits a batch."),
    "workspaces": Lazy(
        "overnight.cli.workspaces:workspaces", "Create, list, limit, archive workspaces."
    ),
    "keys": Lazy("overnight.cli.keys:keys", "Create, list, limit, revoke keys."),
    "budgets": Lazy("overnight.cli.budgets:budgets", "Limit what may be spent."),
    "audit": Lazy("overnight.cli.audit:audit", "Show who did what to keys and workspaces."),
    "config": Lazy("overnight.cli.config:config", "Show the settings in force."),
    "completion": Lazy("overnight.cli.completion:completion", "Print a shell completion script."),
    "version": Lazy("overnight.cli.version:version", "Print the version."),
}


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), cmd_name
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # Click would end the process itself, with 1.
            raise failure.PipeClosed from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise failure.no_such_command(args[0], COMMANDS) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.about) for name, lazy in COMMANDS.items()])


EPILOG = """
\b
Exit codes:
  0  asked and done               5  server or network failure
  1  unexpected failure           6  refused by a budget
  2  wrong usage or input         8  not ended before --timeout
  3  ended, not all succeeded     130  interrupted; the batch goes on
  4  authentication, permission

Documentation: docs/reference/cli.md
"""


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="overnight %(version)s")
@click.pass_context
def program(ctx: click.Context) -> None:
    """Run large LLM jobs at batch price.

    \b
    Example:
      overnight serve                        in one terminal
      overnight batches create input.jsonl   in another
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run the program and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Run one call of the program and give its exit code."""
    as_json = failure.asked_for(args, "--json")
    try:
        code: Any = program.main(args=list(args), prog_name="overnight", standalone_mode=False)
        sys.stdout.flush()
    except OvernightError as error:
        return failure.report(error, as_json=as_json)
    except click.ClickException as error:
        return failure.report_usage(error, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        return failure.report_interrupt()
    except (failure.PipeClosed, BrokenPipeError):
        return failure.close_pipe()
    except Exception as error:
        verbose = failure.asked_for(args, "-v") or failure.asked_for(args, "--verbose")
        return failure.report_unexpected(error, as_json=as_json, verbose=verbose)
    return code if isinstance(code, int) else 0
