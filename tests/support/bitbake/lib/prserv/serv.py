"""The three names that bb.cooker takes from the PR service: there is none to start."""


class PRServiceConfigError(Exception):
    """The configuration asks for a PR service."""


def auto_start(data):
    if data.getVar("PRSERV_HOST"):
        raise PRServiceConfigError("this BitBake has no PR service: unset PRSERV_HOST")


def auto_shutdown():
    pass
