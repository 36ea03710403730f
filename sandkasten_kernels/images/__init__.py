"""The names of images and their contents, for any engine."""

from .apt import AptConfig, host_apt_config
from .bootstrap import base_archive, bootstrap_tag
from .custom import CustomImage, build_order, custom_images
from .names import DIGEST_LABEL, PROTOCOL_LABEL, REPOSITORY, STANDARD, build_command, full_name
from .pip import PipConfig, host_pip_config, proxy_variables
from .progress import BuildProgress, Report, shortened
from .state import ImageState, ImageStatus
from .warnings import image_warnings

__all__ = [
    "DIGEST_LABEL",
    "PROTOCOL_LABEL",
    "REPOSITORY",
    "STANDARD",
    "AptConfig",
    "BuildProgress",
    "CustomImage",
    "ImageState",
    "ImageStatus",
    "PipConfig",
    "Report",
    "base_archive",
    "bootstrap_tag",
    "build_command",
    "build_order",
    "custom_images",
    "full_name",
    "host_apt_config",
    "host_pip_config",
    "image_warnings",
    "proxy_variables",
    "shortened",
]
