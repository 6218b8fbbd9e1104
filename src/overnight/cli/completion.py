"""`overnight completion`."""

import click
from click.shell_completion import ShellComplete, get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a shell completion script.

    \b
    Example:
      overnight completion bash >> ~/.bashrc
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell
    script = kind(ctx.find_root().command, {}, "overnight", "_OVERNIGHT_COMPLETE")
    # The base class: bash's own `source` starts a bash here to look at its version.
    click.echo(ShellComplete.source(script))
