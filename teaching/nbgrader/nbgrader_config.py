"""nbgrader's settings for this course; copied into the course's folder."""

import re

from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader.preprocessors import ClearHiddenTests, GetGrades

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class HideTests(ClearHiddenTests):
    """Feedback without hidden tests: neither their lines nor what a failed one prints beyond its own words."""

    def preprocess_cell(self, cell, resources, cell_index):
        """Cut one cell; only cells that are graded by tests are touched."""
        about = cell.metadata.get("nbgrader", {})
        if not about.get("grade") or about.get("solution"):
            return cell, resources
        if self.begin_test_delimeter in cell.source:
            for output in cell.get("outputs", []):
                if output.output_type == "error":
                    words = (
                        output.evalue
                        if output.ename == "AssertionError"
                        else "the test could not be run to its end"
                    )
                    output.traceback = [f"{output.ename}: {ESCAPE.sub('', words)}"]
            cell.outputs = [output for output in cell.get("outputs", []) if output.output_type == "error"]
        return super().preprocess_cell(cell, resources, cell_index)


c = get_config()  # noqa: F821

c.CourseDirectory.course_id = "ctsl"
c.ClearSolutions.code_stub = {"python": "# your answer\nraise NotImplementedError()"}
c.ClearSolutions.text_stub = "*Your answer*"

# Answers run in the kit's own environment, and a loop that never ends is stopped: the next cell still runs.
c.Execute.kernel_name = "ctsl-kit"
c.Execute.timeout = 30
c.Execute.interrupt_on_timeout = True

# Feedback shows no hidden test.
c.GenerateFeedback.preprocessors = [HideTests, GetGrades, CSSHTMLHeaderPreprocessor]
