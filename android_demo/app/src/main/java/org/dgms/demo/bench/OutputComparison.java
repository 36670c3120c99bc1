package org.dgms.demo.bench;

import java.nio.ByteBuffer;
import java.util.List;

/** Collects how far a path's outputs are from the reference's, input by input. */
final class OutputComparison {
  private double maxDifference;
  private boolean comparable = true;
  private int inputs;
  private int agreements;
  private boolean hasClasses = true;

  /** Compares both sessions' outputs of the last run. */
  void add(PathSession path, PathSession reference) {
    List<TensorSpec> specs = path.outputSpecs();
    List<TensorSpec> expected = reference.outputSpecs();
    inputs++;
    comparable &= specs.size() == expected.size();
    for (int i = 0; comparable && i < specs.size(); i++) {
      compare(specs.get(i), path.outputBuffer(i), expected.get(i), reference.outputBuffer(i));
    }
    hasClasses &= comparable && !specs.isEmpty() && specs.get(0).elements() > 1;
    if (hasClasses
        && argmax(specs.get(0), path.outputBuffer(0)) == argmax(expected.get(0), reference.outputBuffer(0))) {
      agreements++;
    }
  }

  private void compare(TensorSpec spec, ByteBuffer output, TensorSpec expectedSpec, ByteBuffer expected) {
    boolean same = spec.hasEncodingOf(expectedSpec);
    comparable =
        spec.elements() == expectedSpec.elements() && (same || (spec.isReal() && expectedSpec.isReal()));
    for (int i = 0; comparable && i < spec.elements(); i++) {
      double a = spec.element(output, i);
      double b = expectedSpec.element(expected, i);
      // Other encodings of an output are compared in the reference's steps.
      double difference = same ? a - b : (spec.toReal(a) - expectedSpec.toReal(b)) / expectedSpec.step();
      comparable = !Double.isNaN(difference) && !Double.isInfinite(difference);
      maxDifference = Math.max(maxDifference, Math.abs(difference));
    }
  }

  /** Position of the largest element; the first of equal ones, as NumPy's argmax. */
  static int argmax(TensorSpec spec, ByteBuffer values) {
    int best = 0;
    for (int i = 1; i < spec.elements(); i++) {
      if (spec.element(values, i) > spec.element(values, best)) {
        best = i;
      }
    }
    return best;
  }

  /**
   * Largest absolute difference, in steps for quantised outputs; null if outputs are not finite or not
   * comparable.
   */
  Double maxAbsDifference() {
    return comparable && inputs > 0 ? maxDifference : null;
  }

  /** Share of inputs with the same top class, 0 to 1; null if the first output holds a single value. */
  Double top1Agreement() {
    return hasClasses && comparable && inputs > 0 ? Double.valueOf(agreements / (double) inputs) : null;
  }
}
