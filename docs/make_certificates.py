"""Write docs/certificates.md: the certificate of every operation, one row each.

python docs/make_certificates.py
"""

from __future__ import annotations

from pathlib import Path

from tinygrad_cnn.testing import certify_all

HEAD = """# Certificates

Every registered operation, certified on 40 random samples of its own record
(`python docs/make_certificates.py` writes this page; the test suite issues every certificate anew
and compares it with its row). What each check proves is told in
[certification.md](certification.md). ✓ passed · – does not apply (it does not broadcast, is not
linear, has one input, its samples have no shape () or side of 0, no kink, no error samples).

"""


def page() -> str:
    """The whole page."""
    found = certify_all()
    assert found.certified, str(found)
    return HEAD + found.markdown() + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("certificates.md").write_text(page(), encoding="utf-8")
