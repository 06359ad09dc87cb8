"""A small run for the tests of what may be done with a run's folder."""

import kill_and_resume as harness
import pytest


@pytest.fixture(scope='module')
def recipe(tmp_path_factory):
    """Two epochs of three batches from image files, read in the training's own process."""
    folder = tmp_path_factory.mktemp('recipe')
    harness.write_images(folder / 'images', per_class=6)
    recipe = harness.write_recipe(folder, folder / 'images', 'dict(max_epochs=2)')
    text = recipe.read_text().replace('num_workers=2', 'num_workers=0').replace('persistent_workers=True,', '')
    recipe.write_text(text)
    return recipe


@pytest.fixture(scope='module')
def alone(recipe):
    """The folder of that run, finished."""
    harness.finish(recipe, recipe.parent / 'alone')
    return recipe.parent / 'alone'
