"""The command lines `ecg-eval` and `ecg-hub`: a file per verb."""


def interrupted() -> int:
    """Say how to go on after Ctrl-C, without a traceback; returns the exit code."""
    # Imported here: Ctrl-C may come while the first modules are imported, and this one must be there already.
    import sys

    terminal = sys.modules.get("ecg_hub.utils.terminal")
    if terminal is not None:
        terminal.close_bars()
    # A terminal has written ^C where the cursor was; before that module is there, nobody knows of one.
    start = "" if terminal is not None and terminal.width(sys.stderr) is None else "\n"
    print(f"{start}interrupted: what is finished is kept, and the same command goes on from there.", file=sys.stderr)
    # As a shell reports a process that SIGINT ended: 128 + 2.
    return 130
