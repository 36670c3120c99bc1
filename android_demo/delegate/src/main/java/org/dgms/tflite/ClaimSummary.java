package org.dgms.tflite;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/**
 * What a {@link DgmsDelegate} runs: the sum over the interpreters that use it at the moment of
 * {@link DgmsDelegate#claim}. Immutable.
 *
 * <p>An interpreter counts from its creation to its {@code close()}. An interpreter of which the delegate
 * could claim nothing counts too (it adds candidates and refusals), and may do so after its {@code close()},
 * of which TFLite then tells the delegate nothing.
 */
public final class ClaimSummary {
  private final int claimedOperators;
  private final int candidateOperators;
  private final int claimedNodes;
  private final long packedBytes;
  private final List<String> refusals;

  /** Called by the native library only, so the package's rules for R8 keep it. */
  ClaimSummary(
      int claimedOperators, int candidateOperators, int claimedNodes, long packedBytes, String[] refusals) {
    this.claimedOperators = claimedOperators;
    this.candidateOperators = candidateOperators;
    this.claimedNodes = claimedNodes;
    this.packedBytes = packedBytes;
    this.refusals = Collections.unmodifiableList(new ArrayList<String>(Arrays.asList(refusals)));
  }

  /** Convolutions, depthwise convolutions and fully connected layers that the delegate runs. */
  public int claimedOperators() {
    return claimedOperators;
  }

  /** Convolutions, depthwise convolutions and fully connected layers, claimed or not. */
  public int candidateOperators() {
    return candidateOperators;
  }

  /** TFLite nodes that the delegate has replaced: the claimed operators and the decoding of their filters. */
  public int claimedNodes() {
    return claimedNodes;
  }

  /** Memory of the claimed operators' packed weights, in bytes. */
  public long packedBytes() {
    return packedBytes;
  }

  /**
   * One text for each candidate that is left to TFLite, with the operator, the node's number, the name of the
   * output tensor and the reason. Unmodifiable.
   */
  public List<String> refusals() {
    return refusals;
  }

  @Override
  public String toString() {
    return "claimed " + claimedOperators + " of " + candidateOperators + " operators (" + claimedNodes
        + " nodes), packed " + packedBytes + " bytes";
  }
}
