# SPDX-License-Identifier: BSD-2-Clause
"""rusttcti's module under tpm2-pytss: as a TCTI, under ESAPI, and inside a PyTCTI."""

from tpm2_pytss import ESAPI, TCTILdr, TSS2_Exception
from tpm2_pytss.TCTI import PyTCTI

GET_RANDOM = bytes.fromhex("80010000000c0000017b0010")


class Wrapping(PyTCTI):
    """A transport in Python around one of ours."""

    def __init__(self, inner):
        self.inner = inner
        self.commands = 0
        super().__init__()

    def do_transmit(self, command):
        self.commands += 1
        self.inner.transmit(command)

    def do_receive(self, timeout):
        return self.inner.receive(timeout=timeout)


def loads_and_names():
    with TCTILdr("rusttcti", "libtpms") as tcti:
        assert tcti.name == "rusttcti" and tcti.conf == "libtpms", (tcti.name, tcti.conf)
        assert tcti.name_conf == "rusttcti:libtpms"
        assert tcti.version == 2
        tcti.transmit(GET_RANDOM)
        response = tcti.receive()
        assert len(response) == 28 and response[6:10] == bytes(4), response.hex()
    assert TCTILdr.is_available("rusttcti")


def errors_are_exceptions():
    with TCTILdr("rusttcti", "null") as tcti:
        try:
            tcti.transmit(GET_RANDOM)
        except TSS2_Exception as error:
            assert error.rc == 0xA0002, hex(error.rc)
        else:
            raise AssertionError("null took a command")
    try:
        TCTILdr("rusttcti", "nosuchtpm")
    except TSS2_Exception:
        pass
    else:
        raise AssertionError("nosuchtpm was loaded")


def esapi_on_top():
    with ESAPI("rusttcti:libtpms") as esys:
        first, second = esys.get_random(32), esys.get_random(32)
        assert len(bytes(first)) == 32 and bytes(first) != bytes(second)
        handle, public, *_ = esys.create_primary(None)
        assert public.publicArea.type is not None
        esys.flush_context(handle)


def pytcti_around_us():
    with TCTILdr("rusttcti", "libtpms") as inner:
        wrapping = Wrapping(inner)
        with ESAPI(wrapping) as esys:
            assert len(bytes(esys.get_random(16))) == 16
        assert wrapping.commands >= 1


for check in (loads_and_names, errors_are_exceptions, esapi_on_top, pytcti_around_us):
    check()
    print(check.__name__, "passed")
