// The first three principal components of rows of numbers as red, green and blue, as aimv2_np.viz.patch_colors has it.
const LOW = 0.01, HIGH = 0.99; // quantiles that become 0 and 1

export function colorsOf(data, rows) {
  const size = data.length / rows, mean = new Float64Array(size);
  data.forEach((x, i) => { mean[i % size] += x / rows; });
  const centred = Float64Array.from(data, (x, i) => x - mean[i % size]);
  const gram = Array.from({length: rows}, (_, n) => Float64Array.from({length: rows}, (_, m) => {
    let sum = 0;
    for (let c = 0; c < size; c++) sum += centred[n * size + c] * centred[m * size + c];
    return sum;
  }));
  const {values, vectors} = eigen(gram), order = [...values.keys()].sort((a, b) => values[b] - values[a]);
  const colors = new Uint8Array(3 * rows);
  for (let axis = 0; axis < 3; axis++) {
    // An eigenvector of the rows' products, times the root of its value, is what the rows have along a component.
    const which = order[axis], root = Math.sqrt(Math.max(0, values[which])), along = vectors.map(row => row[which] * root);
    const sign = Math.sign(largest(componentOf(centred, along, size))) || 1, list = along.map(x => sign * x);
    const [low, high] = [LOW, HIGH].map(part => quantile(list, part));
    list.forEach((x, n) => { colors[3 * n + axis] = Math.round(255 * (high > low ? Math.min(1, Math.max(0, (x - low) / (high - low))) : 0.5)); });
  }
  return colors;
}
// The direction of a component among the features, of any length: its largest number decides the sign.
function componentOf(centred, along, size) {
  const axis = new Float64Array(size);
  centred.forEach((x, i) => { axis[i % size] += x * along[Math.floor(i / size)]; });
  return axis;
}
function largest(list) { return list.reduce((a, b) => Math.abs(b) > Math.abs(a) ? b : a, 0); }
function quantile(list, part) {
  const sorted = Float64Array.from(list).sort(), place = part * (sorted.length - 1), i = Math.floor(place);
  return sorted[i] + (place - i) * ((sorted[i + 1] ?? sorted[i]) - sorted[i]);
}
// Eigenvalues and vectors (columns) of a symmetric matrix, by Jacobi's rotations.
export function eigen(matrix) {
  const a = matrix.map(row => Float64Array.from(row)), n = a.length, v = a.map((_, i) => Float64Array.from({length: n}, (_, j) => Number(i === j)));
  const total = Math.max(...a.map((row, i) => Math.abs(row[i])), 1e-300);
  for (let sweep = 0; sweep < 30; sweep++) {
    let most = 0;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) {
      most = Math.max(most, Math.abs(a[p][q]));
      if (Math.abs(a[p][q]) < 1e-16 * total) continue;
      const theta = (a[q][q] - a[p][p]) / (2 * a[p][q]), t = Math.sign(theta || 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
      const c = 1 / Math.sqrt(t * t + 1), s = t * c;
      for (let k = 0; k < n; k++) [a[k][p], a[k][q]] = [c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]];
      for (let k = 0; k < n; k++) [a[p][k], a[q][k]] = [c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]];
      for (let k = 0; k < n; k++) [v[k][p], v[k][q]] = [c * v[k][p] - s * v[k][q], s * v[k][p] + c * v[k][q]];
    }
    if (most < 1e-13 * total) break;
  }
  return {values: a.map((row, i) => row[i]), vectors: v};
}
