"""The command line: `memos add`, `memos search`, ... (`memos --help` lists all of it).

What others may build on: answers go to stdout, everything else (notes, progress, errors) to stderr. With `--json`, stdout
holds one JSON document, or one a line where the answer is a list, and an error is `{"error": {"type", "message"}}`. Where
stdout is no terminal, nothing is coloured, shortened or wrapped, and tables become lines of fields separated by tabs.

Exit codes:

    0    done
    1    not found: no such item, cube or version; nothing that could be read; differences left after `verify`
    2    usage: an option, filter, name or text that has no meaning
    3    access: you may read it, but not do that with it
    4    conflict: somebody was faster, or the name is taken
    5    store: missing, damaged, full, busy, read-only, of a newer memos
    6    model: missing, failing, or not the one the store was filled with
    130  interrupted (Ctrl-C); what was stored stays
    141  whoever read the output stopped reading
"""

from memos_core.cli.root import main

__all__ = ["main"]
