package org.dgms.demo.bench;

import java.nio.ByteBuffer;

/** Receives the raw tensors of the first input, so that other programs can be compared on the same bytes. */
public interface TensorSink {
  /**
   * An input of the model (the dense twin's may be encoded in another way and is not given).
   *
   * @param tensor position among the model's inputs
   * @param dtype its elements' type, such as "float32" or "int8"
   * @param bytes in the machine's order (little-endian on every Android device); valid during the call only
   */
  void input(int tensor, String dtype, ByteBuffer bytes);

  /**
   * An output of a path.
   *
   * @param tensor position among the model's outputs
   * @param dtype as above
   * @param bytes as above
   */
  void output(PathKind path, int tensor, String dtype, ByteBuffer bytes);
}
