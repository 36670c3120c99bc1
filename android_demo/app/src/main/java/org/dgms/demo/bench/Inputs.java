package org.dgms.demo.bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.tensorflow.lite.DataType;

/**
 * The inputs that every path is run on: the model's sample images, or random values as the desktop's
 * benchmark takes them (standard normal for floats, the whole range for 8-bit integers, 0 and 1 for wider
 * integers, which may be indices).
 *
 * <p>They are defined by the first opened path's tensors. A path whose tensors are encoded in another way (a
 * dense twin with its own quantisation) gets the same real values.
 */
final class Inputs {
  /** Random inputs on which outputs are compared. */
  static final int RANDOM_INPUTS = 16;

  private final ModelSpec model;
  private final List<TensorSpec> specs;
  private final long seed;
  private final List<PngImage> images;

  private Inputs(ModelSpec model, List<TensorSpec> specs, long seed, List<PngImage> images) {
    this.model = model;
    this.specs = specs;
    this.seed = seed;
    this.images = images;
  }

  /**
   * The inputs for tensors.
   *
   * @throws BenchmarkException a tensor cannot be filled, or the samples do not fit the model
   */
  static Inputs of(ModelSpec model, List<TensorSpec> specs, long seed) throws BenchmarkException {
    for (TensorSpec spec : specs) {
      if (spec.type() == DataType.STRING) {
        throw unsupported("a model's inputs must be numbers. Received: " + spec);
      }
    }
    List<PngImage> images = new ArrayList<PngImage>();
    if (model.hasSamples()) {
      requireFit(model, specs);
      for (ModelSpec.Sample sample : model.samples()) {
        images.add(readImage(model, sample));
      }
    }
    return new Inputs(model, specs, seed, images);
  }

  private static void requireFit(ModelSpec model, List<TensorSpec> specs) throws BenchmarkException {
    ModelSpec.Input input = model.input();
    DataType type = input.dtype().equals("int8") ? DataType.INT8 : DataType.FLOAT32;
    int elements = input.height() * input.width() * input.channels();
    if (specs.size() != 1 || specs.get(0).type() != type || specs.get(0).elements() != elements) {
      throw unsupported(
          "a model with sample images must have one input as its description says, " + input.dtype() + " [1, "
              + input.height() + ", " + input.width() + ", " + input.channels() + "]. Received: " + specs);
    }
  }

  private static PngImage readImage(ModelSpec model, ModelSpec.Sample sample) throws BenchmarkException {
    ModelSpec.Input input = model.input();
    PngImage image;
    try {
      image = PngImage.read(sample.file());
    } catch (IOException e) {
      String message = "a sample image must be readable. Received: " + e.getMessage();
      throw new BenchmarkException(BenchmarkException.Reason.MODEL_UNREADABLE, message, e);
    }
    if (image.width() != input.width()
        || image.height() != input.height()
        || image.channels() != input.channels()) {
      throw unsupported(
          "a sample image must have the input's size, "
              + size(input.width(), input.height(), input.channels())
              + ". Received: "
              + size(image.width(), image.height(), image.channels())
              + " (" + sample.file().getName() + ")");
    }
    return image;
  }

  private static String size(int width, int height, int channels) {
    return width + " x " + height + " x " + channels;
  }

  private static BenchmarkException unsupported(String message) {
    return new BenchmarkException(BenchmarkException.Reason.MODEL_UNSUPPORTED, message, null);
  }

  /** Whether they are the model's sample images. */
  boolean fromSamples() {
    return !images.isEmpty();
  }

  /** How many there are. */
  int count() {
    return fromSamples() ? images.size() : RANDOM_INPUTS;
  }

  /** The sample image behind an input, or null for random ones. */
  ModelSpec.Sample sample(int input) {
    return fromSamples() ? model.samples().get(input) : null;
  }

  /**
   * Writes one tensor of one input.
   *
   * @param input 0 to {@link #count} - 1
   * @param tensor position among the model's inputs
   * @param target the tensor to be filled
   * @throws IllegalArgumentException its type or size does not allow the same values
   */
  void write(int input, int tensor, TensorSpec target, ByteBuffer out) {
    TensorSpec source = tensor < specs.size() ? specs.get(tensor) : null;
    boolean same = source != null && source.hasEncodingOf(target);
    if (source == null
        || source.elements() != target.elements()
        || (!same && !(source.isReal() && target.isReal()))) {
      throw new IllegalArgumentException(
          "a dense twin must take the same inputs as its model: " + specs + ". Received: " + target);
    }
    Random random = new Random(mix(mix(seed, input), tensor));
    for (int i = 0; i < target.elements(); i++) {
      double element = fromSamples() ? pixelElement(input, i, source) : randomElement(random, source.type());
      target.putElement(out, i, same ? element : target.fromReal(source.toReal(element)));
    }
  }

  private double pixelElement(int input, int i, TensorSpec source) {
    ModelSpec.Input how = model.input();
    int channel = i % how.channels();
    int pixel = i / how.channels();
    double value = how.valueOf(images.get(input).value(pixel / how.width(), pixel % how.width(), channel));
    return source.type() == DataType.FLOAT32 ? value : Math.max(-128, Math.min(127, Math.rint(value)));
  }

  private static double randomElement(Random random, DataType type) {
    switch (type) {
      case FLOAT32:
        return random.nextGaussian();
      case INT8:
        return random.nextInt(256) - 128;
      case UINT8:
        return random.nextInt(256);
      default:
        return random.nextInt(2);
    }
  }

  /**
   * Seeds that differ little would give Java's generator similar first values. Source: SplitMix64's
   * finaliser.
   */
  private static long mix(long a, long b) {
    long z = a + (b + 1) * 0x9E3779B97F4A7C15L;
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }
}
