"""One self-contained HTML page from result folders: scores, charts, analyses, the ECGs that were scored most wrongly.

    from eval_harness.report.content import find_content
    from eval_harness.report.page import ReportOptions, write_report
    write_report(find_content(["results"]), Path("report.html"), ReportOptions())

The page holds no script and loads nothing; its charts are SVG, each with the same numbers in a table beside.
"""
