"""What to change for each cause of a wrong gradient: one line each."""

CHANGES: dict[str, str] = {
    "accumulated_twice": "add each gradient once",
    "activation_derivative_missing": "multiply the gradient by the gate with act'(gate)",
    "activation_derivative_wrong": "differentiate the activation that config.json names in hidden_act",
    "broadcast_not_summed": "sum the gradient over all axes along which the array was repeated",
    "detached": "let gradients pass: nothing of the network is held constant",
    "gain_forgotten": "multiply ∂L/∂y with the gain first",
    "gain_without_x": "multiply ∂L/∂y with the normalised x, and sum over all tokens",
    "gate_derivative_wrong": "∂L/∂gate = act'(gate) up ∂L/∂y, ∂L/∂up = act(gate) ∂L/∂y",
    "gradient_of_output": "∂L/∂W = (∂L/∂y)ᵀ x",
    "l2_term_missing": "∂L/∂x = (u - e (e · u)) / |x|, with e = x / |x| and u = ∂L/∂e",
    "logit_scale_gradient": "∂L/∂s = Σ logits ⊙ ∂L/∂logits where s is within its limits, and zero beyond",
    "loss_one_way": "take the mean of the cross-entropies over texts and over images",
    "loss_scaled": "differentiate the loss as it is: the mean over the batch, half of both ways; undo a loss scale",
    "loss_without_target": "subtract the target: the derivative is softmax - target",
    "mask_forgotten": "use the mask of the forward pass where probabilities are computed anew",
    "mean_for_sum": "sum gradients up; a mean over the batch belongs into the loss, once",
    "norm_term_missing": "∂L/∂x = r u - r³ x mean(u ⊙ x), with u = g ⊙ ∂L/∂y",
    "norm_term_wrong": "∂L/∂x = r u - r³ x mean(u ⊙ x), with u = g ⊙ ∂L/∂y",
    "not_accumulated": "add the gradients of all uses",
    "probabilities_not_transposed": "∂L/∂V = Pᵀ ∂L/∂O",
    "q_and_k_exchanged": "∂L/∂Q = s ∂L/∂S K, ∂L/∂K = s (∂L/∂S)ᵀ Q",
    "rows_overwritten": "add to a row, and do not assign: np.add.at, index_add, scatter-add",
    "scale_missing_in_derivative": "multiply with the scale once: ∂L/∂Q = s ∂L/∂S K, ∂L/∂K = s (∂L/∂S)ᵀ Q",
    "softmax_element_by_element": "∂L/∂S = P ⊙ (∂L/∂P - Σ P ∂L/∂P)",
    "softmax_sum_missing": "∂L/∂S = P ⊙ (∂L/∂P - Σ P ∂L/∂P)",
    "stop_gradient_missing": "hold constant what the reference does: a frozen tower, a detached target",
    "transposed_weight_gradient": "give the gradient in the weight's own order, (outputs, inputs)",
    "weight_not_transposed": "∂L/∂x = ∂L/∂y W",
    "weights_accumulated_twice": "set gradients to zero before each backward pass, and add each once",
    "weights_detached": "compute gradients by these weights; they are frozen or detached",
    "wrong_sign": "give the gradient with its own sign",
}


def change(identifier: str) -> str:
    """What to change, for the identifier of a cause."""
    return CHANGES[identifier]
