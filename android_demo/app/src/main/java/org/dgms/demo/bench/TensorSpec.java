package org.dgms.demo.bench;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Locale;
import org.tensorflow.lite.DataType;
import org.tensorflow.lite.Tensor;

/**
 * Type, shape and quantisation of a model's input or output, and access to its elements in a buffer.
 * Immutable.
 */
final class TensorSpec {
  private final DataType type;
  private final int[] shape;
  private final int elements;
  private final int bytes;
  private final double scale;
  private final int zeroPoint;

  TensorSpec(Tensor tensor) {
    type = tensor.dataType();
    shape = tensor.shape();
    elements = tensor.numElements();
    bytes = tensor.numBytes();
    scale = tensor.quantizationParams().getScale();
    zeroPoint = tensor.quantizationParams().getZeroPoint();
  }

  DataType type() {
    return type;
  }

  /** The elements' type as JSON names it, such as "float32". */
  String dtype() {
    return type.name().toLowerCase(Locale.ROOT);
  }

  int elements() {
    return elements;
  }

  /** Whether elements stand for real values: element = real / scale + zeroPoint. */
  boolean isQuantised() {
    return (type == DataType.INT8 || type == DataType.UINT8 || type == DataType.INT16) && scale != 0;
  }

  /** Whether elements of both mean the same real values. */
  boolean hasEncodingOf(TensorSpec other) {
    return type == other.type && scale == other.scale && zeroPoint == other.zeroPoint;
  }

  /** Whether elements can be converted to real values and back. */
  boolean isReal() {
    return type == DataType.FLOAT32 || isQuantised();
  }

  /** What one step of an element is worth: the scale of a quantised tensor, else 1. */
  double step() {
    return isQuantised() ? scale : 1;
  }

  /** A buffer of this tensor's size, as TFLite takes it without copying it to the Java heap. */
  ByteBuffer newBuffer() {
    return ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
  }

  /** An element as it stands in the buffer. */
  double element(ByteBuffer buffer, int i) {
    switch (type) {
      case FLOAT32:
        return buffer.getFloat(4 * i);
      case INT32:
        return buffer.getInt(4 * i);
      case INT64:
        return buffer.getLong(8 * i);
      case INT16:
        return buffer.getShort(2 * i);
      case UINT8:
        return buffer.get(i) & 0xff;
      case INT8:
      case BOOL:
        return buffer.get(i);
      default:
        throw new IllegalStateException("a tensor must hold numbers. Received: " + this);
    }
  }

  /** Writes an element; integers are rounded (halves to even) and limited to their type's range. */
  void putElement(ByteBuffer buffer, int i, double value) {
    double rounded = Math.rint(value);
    switch (type) {
      case FLOAT32:
        buffer.putFloat(4 * i, (float) value);
        break;
      case INT32:
        buffer.putInt(4 * i, (int) rounded);
        break;
      case INT64:
        buffer.putLong(8 * i, (long) rounded);
        break;
      case INT16:
        buffer.putShort(2 * i, (short) Math.max(Short.MIN_VALUE, Math.min(Short.MAX_VALUE, rounded)));
        break;
      case UINT8:
        buffer.put(i, (byte) (int) Math.max(0, Math.min(255, rounded)));
        break;
      case INT8:
        buffer.put(i, (byte) Math.max(Byte.MIN_VALUE, Math.min(Byte.MAX_VALUE, rounded)));
        break;
      case BOOL:
        buffer.put(i, (byte) (rounded == 0 ? 0 : 1));
        break;
      default:
        throw new IllegalStateException("a tensor must hold numbers. Received: " + this);
    }
  }

  /** The real value that an element stands for. */
  double toReal(double element) {
    return isQuantised() ? (element - zeroPoint) * scale : element;
  }

  /** The element that a real value becomes, before rounding. */
  double fromReal(double real) {
    return isQuantised() ? real / scale + zeroPoint : real;
  }

  @Override
  public String toString() {
    return dtype() + " " + Arrays.toString(shape);
  }
}
