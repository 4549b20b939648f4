"""The service under load."""

from __future__ import annotations

from tables.common import Figures, made_by, markdown


def service(results: Figures) -> str:
    """Answers, seconds and memory, by number of clients."""
    names = {"direct": "by itself", "gateway": "through one gateway"}
    rows = [
        [
            f"{row['clients']}, {names[way]}", f"{row['answered']} of {row['asked']}",
            str(row["wrong"]), f"{row['a_second']:.2f}",
            *(f"{seconds:.2f}" for seconds in row["seconds"].values()),
            ", ".join(f"{name} {part:+.1%}" for name, part in row["memory_growth"].items()),
        ]
        for way in names
        for row in results.get(way, ())
    ]  # fmt: skip
    head = [
        "clients", "answered", "unlike plain", "a second", "p50 s", "p95 s", "p99 s",
        "memory, from the 100th answer to the last",
    ]  # fmt: skip
    return markdown(head, rows) + made_by(results)


def faults(results: Figures) -> str:
    """By kind of fault: what became of the requests, and when the service answered again."""
    rows = [
        [
            row["kind"], str(row["faults"]), str(row["requests"]), str(row["answered"]),
            ", ".join(f"{count} {code}" for code, count in row["errors"].items()) or "none",
            str(row["hung"]), f"{row['back_s']['p50']:.1f}", f"{row['back_s']['max']:.1f}",
        ]
        for row in results["kinds"]
    ]  # fmt: skip
    head = [
        "fault", "times", "requests under way", "answered", "clear errors", "hung",
        "answers again after s, p50", "at most",
    ]  # fmt: skip
    return markdown(head, rows) + _proof(results) + made_by(results)


def _proof(results: Figures) -> str:
    """What ledgers and kernel say of the stocks, and what was amiss."""
    used = {name: row["used"] for name, row in results["stocks"].items()}
    read = {name: row["read"] for name, row in results["stocks"].items()}
    told = ", ".join(f"{name} {count}, {read[name]} files read" for name, count in used.items())
    wrong = "; ".join(results["violations"]) or "none"
    return (
        f"\n{results['faults']} faults, {results['requests']} requests, {results['answered']} "
        f"answered; the slowest took {results['slowest_s']} s of a deadline of "
        f"{results['deadline_s']:g} s and {results['grace_s']:g} s of grace. Stocks used, each "
        f"once: {told}. Violations: {wrong}.\n"
    )
