# SPDX-License-Identifier: BSD-2-Clause
"""A pytest plugin that puts a TPM of ours under the tests of tpm2-pytss.

Its tests ask test/TSS2_BaseTest.py for a simulator and its TCTI; this gives
them one of the kind that the variable SUITE_FORM names, with the TCTI that
SUITE_TCTI has: in it, @CONF@ is where this test's swtpm is, @DIR@ a folder of
this test's own.
"""

import os
import tempfile

import pytest
from tpm2_pytss import TCTILdr

FORM = os.environ["SUITE_FORM"]
TCTI = os.environ["SUITE_TCTI"]


class Embedded:
    """A TPM inside the process, in the state file of a test."""

    def __init__(self):
        self.working_dir = tempfile.TemporaryDirectory()

    def start(self):
        pass

    def close(self):
        self.working_dir.cleanup()

    def __str__(self):
        return TCTI

    tcti_name_conf = property(lambda self: TCTI.replace("@DIR@", self.working_dir.name))

    def get_tcti(self):
        return TCTILdr(*self.tcti_name_conf.split(":", 1))


def process(base):
    """swtpm as the tests start it, under our TCTI."""

    class Process(base):
        tcti_name_conf = property(
            lambda self: TCTI.replace("@CONF@", f"port={self._port}").replace(
                "@DIR@", self.working_dir.name
            )
        )
        get_tcti = Embedded.get_tcti

    return Process


@pytest.fixture(scope="session", autouse=True)
def our_tpm():
    from test import TSS2_BaseTest

    simulator = Embedded if "@CONF@" not in TCTI else process(TSS2_BaseTest.SwtpmSimulator)
    if FORM != "upstream":
        TSS2_BaseTest.TpmSimulator.getSimulator = staticmethod(simulator)
