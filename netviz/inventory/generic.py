"""Django's classes that only its stubs know as generic: `ModelAdmin[Node]` also where Python runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin as ModelAdmin
    from django.forms import ModelForm as ModelForm
else:
    from django.contrib import admin
    from django.forms import models

    class ModelAdmin(admin.ModelAdmin):
        """The class itself, whatever model stands in brackets."""

        def __class_getitem__(cls, _model: object) -> type:
            return cls

    class ModelForm(models.ModelForm):
        """The class itself, whatever model stands in brackets."""

        def __class_getitem__(cls, _model: object) -> type:
            return cls
