"""Fixtures with a small run, for tests that change a run's folder."""

import kill_and_resume as harness
import pytest


@pytest.fixture(scope='module')
def recipe(tmp_path_factory):
    """Write a recipe of two epochs of three batches from image files, without loader workers."""
    folder = tmp_path_factory.mktemp('recipe')
    harness.write_images(folder / 'images', per_class=6)
    recipe = harness.write_recipe(folder, folder / 'images', 'dict(max_epochs=2)')
    text = recipe.read_text().replace('num_workers=2', 'num_workers=0').replace('persistent_workers=True,', '')
    recipe.write_text(text)
    return recipe


@pytest.fixture(scope='module')
def alone(recipe):
    """Return the folder of this run after it has finished."""
    harness.finish(recipe, recipe.parent / 'alone')
    return recipe.parent / 'alone'
