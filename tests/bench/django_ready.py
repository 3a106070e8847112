"""Sets Django up, for what is measured of the server within this process. Imported before anything that needs it."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "netviz.settings")
django.setup()
