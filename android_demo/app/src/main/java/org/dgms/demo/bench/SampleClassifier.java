package org.dgms.demo.bench;

import java.nio.ByteBuffer;

/** Reads a classifier's output: which class, how probable. */
final class SampleClassifier {
  /** Rounding of a float or int8 softmax over up to some thousand classes. */
  private static final double SUM_TOLERANCE = 0.02;

  private SampleClassifier() {}

  /** What a path's last run made of a sample image, by its first output. */
  static Classification classify(ModelSpec.Sample sample, PathSession path) {
    TensorSpec spec = path.outputSpecs().get(0);
    ByteBuffer output = path.outputBuffer(0);
    int predicted = OutputComparison.argmax(spec, output);
    return new Classification(
        sample.file().getName(), sample.label(), predicted, probability(spec, output, predicted));
  }

  /** The output's own value where the outputs are probabilities already, else their softmax. */
  private static double probability(TensorSpec spec, ByteBuffer output, int predicted) {
    double top = spec.toReal(spec.element(output, predicted));
    double sum = 0;
    double sumOfExponentials = 0;
    boolean inUnitRange = true;
    for (int i = 0; i < spec.elements(); i++) {
      double value = spec.toReal(spec.element(output, i));
      sum += value;
      sumOfExponentials += Math.exp(value - top);
      inUnitRange &= value >= 0 && value <= 1;
    }
    if (inUnitRange && Math.abs(sum - 1) <= SUM_TOLERANCE) {
      return top;
    }
    double softmax = 1 / sumOfExponentials;
    return Double.isNaN(softmax) ? 0 : softmax;
  }
}
