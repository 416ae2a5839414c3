"""A round of Flower's SecAgg+ in memory, by its own functions and its server's own ``unmask_stage``."""

from importlib import import_module
from types import SimpleNamespace
from typing import Any

from flwr.common import ConfigRecord, RecordDict, bytes_to_ndarray, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.ndarrays_arithmetic import parameters_mod
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.server.workflow.secure_aggregation.secaggplus_workflow import SecAggPlusWorkflow, WorkflowState
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from .scenario import CLIP, WEIGHT, Neighbours

client_mod: Any = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")  # a function has the same name
TARGET, MODULUS = 1 << 22, 1 << 32
"""Flower's defaults."""

Vector = list[NDArray[Any]]


class Round:
    """A round of n clients: the client's functions, and the server's own ``unmask_stage``, over memory."""

    def __init__(self, n: int, plan: Neighbours) -> None:
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1  # its messages ask for them
        self.workflow = SecAggPlusWorkflow(
            plan.count + 1, plan.threshold, max_weight=WEIGHT, clipping_range=CLIP, quantization_range=TARGET
        )
        self.plan = plan
        self.states = {nid: client_mod.SecAggPlusState() for nid in range(1, n + 1)}
        configs = {
            Key.SAMPLE_NUMBER: n,
            Key.SHARE_NUMBER: plan.count + 1,
            Key.THRESHOLD: plan.threshold,
            Key.CLIPPING_RANGE: CLIP,
            Key.TARGET_RANGE: TARGET,
            Key.MOD_RANGE: MODULUS,
            Key.MAX_WEIGHT: float(WEIGHT),
        }
        self.public: dict[int, list[bytes]] = {}
        for nid, state in self.states.items():
            state.nid = nid
            keys = client_mod._setup(state, ConfigRecord(configs))
            self.public[nid] = [keys[Key.PUBLIC_KEY_1], keys[Key.PUBLIC_KEY_2]]
        half = plan.count // 2
        self.neighbours = {nid: {(nid - 1 + step) % n + 1 for step in range(-half, half + 1)} for nid in self.states}
        self.dealt: dict[int, list[tuple[int, bytes]]] = {nid: [] for nid in self.states}
        for nid, state in self.states.items():
            near = {str(peer): self.public[peer] for peer in self.neighbours[nid]}
            sent = client_mod._share_keys(state, ConfigRecord(near))
            for to, packet in zip(sent[Key.DESTINATION_LIST], sent[Key.CIPHERTEXT_LIST], strict=True):
                self.dealt[to].append((nid, packet))

    def upload(self, nid: int, mine: Vector, weight: int) -> Vector:
        """One client's masked vector."""
        configs = {
            Key.CIPHERTEXT_LIST: [packet for _, packet in self.dealt[nid]],
            Key.SOURCE_LIST: [source for source, _ in self.dealt[nid]],
        }
        sent = client_mod._collect_masked_vectors(
            self.states[nid], ConfigRecord(configs), weight, ndarrays_to_parameters(mine)
        )
        return [bytes_to_ndarray(array) for array in sent[Key.MASKED_PARAMETERS]]

    def unmask(self, total: Vector, alive: set[int]) -> Vector:
        """The weighted mean of ``alive``, of whose uploads ``total`` is the sum, by ``unmask_stage``."""
        result = SimpleNamespace()
        state = WorkflowState(
            active_node_ids=set(alive),
            sampled_node_ids=set(self.states),
            nid_to_neighbours={nid: set(peers) for nid, peers in self.neighbours.items()},
            nid_to_publickeys=self.public,
            aggregate_ndarrays=parameters_mod(total, MODULUS),
            threshold=self.plan.threshold,
            clipping_range=CLIP,
            quantization_range=TARGET,
            mod_range=MODULUS,
            legacy_results=[(None, result)],
        )
        context: Any = SimpleNamespace(
            state=SimpleNamespace(config_records={MAIN_CONFIGS_RECORD: {WorkflowKey.CURRENT_ROUND: 1}}),
            strategy=SimpleNamespace(aggregate_fit=lambda *_: (None, {})),
        )
        grid: Any = SimpleNamespace(send_and_receive=self._answer)
        if not self.workflow.unmask_stage(grid, context, state):
            raise RuntimeError("Flower could not unmask.")
        mean: Vector = parameters_to_ndarrays(result.parameters)
        return mean

    def _answer(self, messages: list[Any], timeout: float | None = None) -> list[Any]:
        replies = []
        for message in messages:
            nid = message.metadata.dst_node_id
            answer = client_mod._unmask(self.states[nid], message.content.config_records[RECORD_KEY_CONFIGS])
            content = RecordDict({RECORD_KEY_CONFIGS: ConfigRecord(answer)})
            replies.append(
                SimpleNamespace(content=content, has_error=lambda: False, metadata=SimpleNamespace(src_node_id=nid))
            )
        return replies
