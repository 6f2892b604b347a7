"""A request made ready to run: files that it names found, seeds, sizes and prompts filled in, all values checked."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from hires.errors import ModelFileError
from hires.imaging.upscalers import LATENT_UPSCALERS, PLAIN, find_name
from hires.models.checkpoint import file_identity
from hires.models.hashes import safetensors_header
from hires.models.inspection import inspect, unet_channels
from hires.models.native import native_size
from hires.models.store import ModelStore
from hires.models.upscale_names import file_of_title
from hires.pocket import BUILT_IN_NAME, after_own
from hires.recipes.controlnets import fact_key as controlnet_key
from hires.recipes.embedded import embedding_facts, renamed_embeddings, with_renamed
from hires.recipes.facts import NATIVE_SIZE_UNKNOWN, ModelFacts, stated_facts
from hires.recipes.networks import HYPERNET, fact_key, hypernetwork_names, lora_names
from hires.recipes.request import Txt2Img, check_request, with_seeds
from hires.recipes.samplers import check_names
from hires.recipes.wording import Phrasebook, worded
from hires.settings import Settings
from hires.text.styles import load_styles

OWN_VAE, VAE_OF_ITS_NAME = ("none",), ("auto", "automatic")
"""In the place of a VAE's name: the checkpoint's own, and a file of the checkpoint's name where there is one."""


NOBODY = ("none", "off", "false")
"""In the place of a face restorer's name."""


class Preparation:
    """Prepares requests by the files of a store and by the settings; facts of files are looked up once."""

    def __init__(self, store: ModelStore, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._known_facts: dict[tuple[str, str], ModelFacts] = {}

    def prepared(self, request: Txt2Img, lenient: bool = False) -> tuple[Txt2Img, dict[str, ModelFacts]]:
        """The request with names found, size and seeds filled in and everything checked; and its models' facts.

        With `lenient`, models that are not there keep the name and hash that the request states.
        """
        facts: dict[str, ModelFacts] = {}
        checkpoint = request.checkpoint or self.default_checkpoint()
        request = with_seeds(replace(request, checkpoint=self._found("checkpoints", checkpoint, facts, lenient)))
        request = worded(request, self.phrasebook(request))
        request = self._with_models(request, facts, lenient)
        request = self._with_networks(request, facts)
        request = self._with_controlnets(request, facts)
        request = self._with_faces(request, lenient)
        request = _sized(request, facts[request.checkpoint or ""].native_size)
        check_names(request)
        if request.hires is not None:
            names = [*LATENT_UPSCALERS, *PLAIN, *self._store.names("upscale_models")]
            names += [request.hires.upscaler] * lenient
            wanted = file_of_title(self._store, request.hires.upscaler)
            request = replace(request, hires=replace(request.hires, upscaler=find_name(wanted, names)))
        check_request(request, self._settings.max_megapixels)
        return request, facts

    def _found(self, kind: str, name: str, facts: dict[str, ModelFacts], lenient: bool) -> str:
        """The listed name of a file, whose facts are put down."""
        try:
            found = self._facts(kind, name)
        except ModelFileError:
            if not lenient:
                raise
            found = stated_facts(name)
        facts[found.name] = found
        return found.name

    def _with_models(self, request: Txt2Img, facts: dict[str, ModelFacts], lenient: bool) -> Txt2Img:
        """With the VAE and the checkpoints of refiner and second pass found."""
        if request.vae and request.vae.lower() in (*OWN_VAE, *VAE_OF_ITS_NAME):
            named = request.vae.lower() in VAE_OF_ITS_NAME
            request = replace(request, vae=self._store.own_vae(request.checkpoint or "") if named else None)
        if request.vae:
            request = replace(request, vae=self._found("vae", request.vae, facts, lenient))
        if request.refiner is not None:
            refiner = self._found("checkpoints", request.refiner.checkpoint, facts, lenient)
            request = replace(request, refiner=replace(request.refiner, checkpoint=refiner))
        if request.hires is not None and request.hires.checkpoint:
            second = self._found("checkpoints", request.hires.checkpoint, facts, lenient)
            request = replace(request, hires=replace(request.hires, checkpoint=second))
        return request

    def _with_networks(self, request: Txt2Img, facts: dict[str, ModelFacts]) -> Txt2Img:
        """With embeddings by their files' names; LoRAs and hypernetworks that are not there have no facts."""
        for name in lora_names(request):
            stated = request.hashes.get(fact_key(name))
            with suppress(ModelFileError):  # an unknown LoRA is noted, and the picture drawn without it, as in A1111
                facts[fact_key(name)] = self._lora_facts(name, f"{name} [{stated}]" if stated else name)
        for name in hypernetwork_names(request):
            with suppress(ModelFileError):
                facts[fact_key(name, HYPERNET)] = self._hypernetwork_facts(name)
        embeddings = self._store.directories("embeddings")
        request = with_renamed(request, renamed_embeddings(request, embeddings))
        facts |= embedding_facts(request, self._store)
        return request

    def _with_controlnets(self, request: Txt2Img, facts: dict[str, ModelFacts]) -> Txt2Img:
        units = []
        for unit in request.controlnets:
            found = self._facts("controlnet", unit.model)
            facts[controlnet_key(found.name)] = found
            units.append(replace(unit, model=found.name))
        return replace(request, controlnets=tuple(units)) if units else request

    def _with_faces(self, request: Txt2Img, lenient: bool) -> Txt2Img:
        """With the restorer's title; ModelFileError where its files are not there."""
        from hires.models.faces.restorer import find_face_restorer

        if lenient or not request.face_restoration:
            return request
        if request.face_restoration.lower() in NOBODY:
            return replace(request, face_restoration="")
        return replace(request, face_restoration=find_face_restorer(self._store, request.face_restoration))

    def phrasebook(self, request: Txt2Img | None = None) -> Phrasebook:
        """The styles and wildcards of the settings; styles are read only where a request names some."""
        wanted = request is None or bool(request.styles)
        folder = self._settings.wildcards_dir or self._settings.models_dir / "wildcards"
        return Phrasebook(load_styles(self._settings.styles_files) if wanted else {}, (folder,))

    def default_checkpoint(self) -> str:
        """The first checkpoint in the user's folders; the built-in model when there is none."""
        own = [name for name in self._store.names("checkpoints") if not after_own(name)]
        return own[0] if own else BUILT_IN_NAME

    def _lora_facts(self, name: str, title: str) -> ModelFacts:
        """Of the file of this name, else of the only one that its trainer called so (`ss_output_name`)."""
        try:
            return self._facts("loras", title)
        except ModelFileError:
            called = [
                entry.name
                for entry in self._store.entries("loras")
                if entry.path.is_file() and safetensors_header(entry.path)[1].get("ss_output_name") == name
            ]
            if len(called) != 1:
                raise
            return self._facts("loras", called[0])

    def _hypernetwork_facts(self, name: str) -> ModelFacts:
        """Of any family: a hypernetwork changes what it finds layers of its widths for."""
        path = self._store.find("hypernetworks", name)
        listed = next(entry.name for entry in self._store.entries("hypernetworks") if entry.path == path)
        return ModelFacts(listed, self._store.hash("hypernetworks", listed), "", NATIVE_SIZE_UNKNOWN)

    def _facts(self, kind: str, name: str) -> ModelFacts:
        path = self._store.find(kind, name)
        listed = next(entry.name for entry in self._store.entries(kind) if entry.path == path)
        key = (listed, file_identity(path))
        if key not in self._known_facts:
            info = inspect(path, self._store.hashes, name=listed, with_hash=False)
            if info.problem:
                raise ModelFileError(info.problem)
            size = native_size(path, info.family)
            channels = unet_channels(path) if kind == "checkpoints" else ModelFacts.in_channels
            self._known_facts[key] = ModelFacts(listed, self._store.hash(kind, listed), info.family, size, channels)
        return self._known_facts[key]


def _sized(request: Txt2Img, native: int) -> Txt2Img:
    """With the size that tiles overwrite, else the model's own where none is given."""
    if request.tiled is not None and request.tiled.overwrite_width and request.tiled.overwrite_height:
        return replace(request, width=request.tiled.overwrite_width, height=request.tiled.overwrite_height)
    return replace(request, width=request.width or native, height=request.height or native)
