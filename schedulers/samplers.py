"""Samplers of k-diffusion and ComfyUI by name: which solver of the table each is, and how often it calls the model.

Calibrations are stored under the names of solvers, so that a sampler shares that of its solver. Importing this module
does not load torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from videogen.core.errors import unknown

from .solvers import SOLVERS


@dataclass(frozen=True)
class SamplerRow:
    """One sampler.

    solver: its row in `SOLVERS`; None: there is none. single_call: whether it calls the model once per step, at the
    levels of its sigmas. stochastic: whether it adds fresh noise.
    """

    solver: str | None = None
    single_call: bool = True
    stochastic: bool = False


def _rows(names: str, *, single_call: bool = True, stochastic: bool = False) -> dict[str, SamplerRow]:
    """Rows of samplers that are no solver of the table."""
    return {name: SamplerRow(None, single_call, stochastic) for name in names.split()}


#: Counted on ComfyUI 0.33 with eight steps of a flow model.
SAMPLERS: dict[str, SamplerRow] = {
    "euler": SamplerRow("euler"),
    "ddim": SamplerRow("ddim"),
    "dpmpp_2m": SamplerRow("dpm++2m"),
    "uni_pc": SamplerRow("unipc"),
    "uni_pc_bh2": SamplerRow("unipc"),
    "deis": SamplerRow("deis"),
    **_rows("res_multistep gradient_estimation ipndm ipndm_v lms"),
    **_rows("euler_cfg_pp dpmpp_2m_cfg_pp res_multistep_cfg_pp gradient_estimation_cfg_pp"),
    "euler_ancestral": SamplerRow("euler-a", stochastic=True),
    "dpmpp_2m_sde": SamplerRow("dpm++2m-sde", stochastic=True),
    "ddpm": SamplerRow("ddpm", stochastic=True),
    "lcm": SamplerRow("lcm", stochastic=True),
    **_rows("dpmpp_2m_sde_heun dpmpp_3m_sde er_sde sa_solver res_multistep_ancestral", stochastic=True),
    **_rows("euler_ancestral_cfg_pp res_multistep_ancestral_cfg_pp", stochastic=True),
    "heun": SamplerRow("heun", single_call=False),
    **_rows("heunpp2 exp_heun_2_x0 dpm_2 dpm_fast dpm_adaptive", single_call=False),
    **_rows(
        "exp_heun_2_x0_sde dpm_2_ancestral dpmpp_2s_ancestral dpmpp_2s_ancestral_cfg_pp dpmpp_sde seeds_2 seeds_3 "
        "sa_solver_pece",
        single_call=False, stochastic=True,
    ),
}  # fmt: skip
_FUNCTIONS = {"unipc": "uni_pc", "unipc_bh2": "uni_pc_bh2"}


def sampler_name(name: str) -> str:
    """The name of a sampler, also from that of its function: `euler` for `sample_euler`."""
    short = name.removeprefix("sample_").removesuffix("_gpu").removesuffix("_function")
    return _FUNCTIONS.get(short, short)


def find_sampler(name: str) -> SamplerRow:
    """The row of a sampler, by its name or that of its function. InputError for an unknown one."""
    short = sampler_name(name)
    if short not in SAMPLERS:
        raise unknown("sampler", name, SAMPLERS)
    return SAMPLERS[short]


def solver_of_sampler(name: str, kind: str) -> str:
    """The name under which calibrations of a sampler are stored, for a model that predicts `kind`: the class of its
    solver, or its own name. InputError for an unknown one."""
    row = find_sampler(name)
    solver = None if row.solver is None else SOLVERS[row.solver].diffusers_class(kind)
    return sampler_name(name) if solver is None else solver.rpartition(":")[2]
