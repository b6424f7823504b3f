"""Learning rules: one file per family, one entry in `LEARNING_RULES` for each rule."""

from brainscore_lite.learning_rules.backprop import Backprop
from brainscore_lite.learning_rules.energy import (
    AlmeidaPineda,
    ContrastiveHebbian,
    CoupledLearning,
    DualPropagation,
    EquilibriumPropagation,
    GeneRec,
    RestrictedBoltzmannMachine,
)
from brainscore_lite.learning_rules.hebbian import (
    BCM,
    LatentPredictiveLearning,
    PrincipalComponents,
    RewardModulatedHebb,
    SoftHebb,
)
from brainscore_lite.learning_rules.learning_rule import (
    LOCALITIES,
    REQUIREMENTS,
    Batch,
    Estimator,
    LearningRule,
    ParameterGroup,
    Phase,
    StepInfo,
    Support,
    UnsupportedNetworkError,
    distinct,
)
from brainscore_lite.learning_rules.local import (
    CLAPP,
    ForwardForward,
    GreedyInfoMax,
    LocalLosses,
    RecurrentForwardForward,
    SyntheticGradients,
    UnsupervisedForwardForward,
)
from brainscore_lite.learning_rules.perturbation import (
    ForwardGradient,
    NodePerturbation,
    WeightPerturbation,
)
from brainscore_lite.learning_rules.predictive_coding import (
    FixedPredictionCoding,
    IncrementalPredictiveCoding,
    NudgedPredictiveCoding,
    PredictiveCoding,
    ZeroDivergenceInferenceLearning,
)
from brainscore_lite.learning_rules.random_features import RandomFeatures
from brainscore_lite.learning_rules.self_supervised import SimCLR, VICReg
from brainscore_lite.learning_rules.shuffled_labels import ShuffledLabels
from brainscore_lite.learning_rules.target import (
    DifferenceTargetPropagation,
    DirectDifferenceTargetPropagation,
    LocalDifferenceReconstruction,
    TargetPropagation,
)
from brainscore_lite.learning_rules.temporal import (
    BackpropThroughTime,
    EligibilityTraces,
    RealTimeRecurrentLearning,
)
from brainscore_lite.learning_rules.transport import (
    BurstDependent,
    DirectFeedbackAlignment,
    DirectRandomTargetProjection,
    FeedbackAlignment,
    KolenPollack,
    SignSymmetry,
    WeightMirror,
)
from brainscore_lite.learning_rules.untrained import Untrained

#: Every rule with the settings of its paper, by name.
LEARNING_RULES: dict[str, LearningRule] = {
    rule.name: rule
    for rule in (
        # transport
        Backprop(),
        FeedbackAlignment(),
        DirectFeedbackAlignment(),
        SignSymmetry("usf"),
        SignSymmetry("brsf"),
        SignSymmetry("frsf"),
        WeightMirror(),
        KolenPollack(),
        DirectRandomTargetProjection(),
        BurstDependent(),
        # perturbation
        WeightPerturbation(),
        NodePerturbation(),
        ForwardGradient(),
        # hebbian
        PrincipalComponents(),
        PrincipalComponents(deflation="sequential"),
        SoftHebb(),
        RewardModulatedHebb(),
        BCM(),
        LatentPredictiveLearning(),
        # energy
        RestrictedBoltzmannMachine(),
        RestrictedBoltzmannMachine(persistent=True),
        DualPropagation(),
        ContrastiveHebbian(),
        GeneRec(),
        EquilibriumPropagation(nudging="one_sided"),
        EquilibriumPropagation(nudging="random_sign"),
        EquilibriumPropagation(nudging="centered"),
        EquilibriumPropagation(nudging="holomorphic", beta=0.2, n_points=4),
        CoupledLearning(),
        AlmeidaPineda(),
        # predictive_coding
        FixedPredictionCoding(),
        ZeroDivergenceInferenceLearning(),
        PredictiveCoding(),
        IncrementalPredictiveCoding(),
        NudgedPredictiveCoding("positive"),
        NudgedPredictiveCoding("negative"),
        NudgedPredictiveCoding("centered"),
        # target
        TargetPropagation(),
        DifferenceTargetPropagation(),
        DirectDifferenceTargetPropagation(),
        LocalDifferenceReconstruction(),
        # local
        ForwardForward(),
        UnsupervisedForwardForward(),
        RecurrentForwardForward(),
        LocalLosses("pred"),
        LocalLosses("sim"),
        LocalLosses("predsim"),
        GreedyInfoMax(),
        CLAPP(),
        SyntheticGradients(),
        # self_supervised
        SimCLR(),
        VICReg(),
        # temporal
        BackpropThroughTime(),
        BackpropThroughTime(horizon=5),
        RealTimeRecurrentLearning(),
        EligibilityTraces("snap1"),
        EligibilityTraces("e_prop"),
        EligibilityTraces("rflo"),
        # controls
        RandomFeatures(),
        ShuffledLabels(),
        Untrained(),
    )
}

__all__ = [
    "BCM",
    "CLAPP",
    "LEARNING_RULES",
    "LOCALITIES",
    "REQUIREMENTS",
    "AlmeidaPineda",
    "Backprop",
    "BackpropThroughTime",
    "Batch",
    "BurstDependent",
    "ContrastiveHebbian",
    "CoupledLearning",
    "DifferenceTargetPropagation",
    "DirectDifferenceTargetPropagation",
    "DirectFeedbackAlignment",
    "DirectRandomTargetProjection",
    "DualPropagation",
    "EligibilityTraces",
    "EquilibriumPropagation",
    "Estimator",
    "FeedbackAlignment",
    "FixedPredictionCoding",
    "ForwardForward",
    "ForwardGradient",
    "GeneRec",
    "GreedyInfoMax",
    "IncrementalPredictiveCoding",
    "KolenPollack",
    "LatentPredictiveLearning",
    "LearningRule",
    "LocalDifferenceReconstruction",
    "LocalLosses",
    "NodePerturbation",
    "NudgedPredictiveCoding",
    "ParameterGroup",
    "Phase",
    "PredictiveCoding",
    "PrincipalComponents",
    "RandomFeatures",
    "RealTimeRecurrentLearning",
    "RecurrentForwardForward",
    "RestrictedBoltzmannMachine",
    "RewardModulatedHebb",
    "ShuffledLabels",
    "SignSymmetry",
    "SimCLR",
    "SoftHebb",
    "StepInfo",
    "Support",
    "SyntheticGradients",
    "TargetPropagation",
    "UnsupervisedForwardForward",
    "UnsupportedNetworkError",
    "Untrained",
    "VICReg",
    "WeightMirror",
    "WeightPerturbation",
    "ZeroDivergenceInferenceLearning",
    "distinct",
]
