package org.dgms.tflite;

import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.dgms.host.ShimLoader;
import org.json.JSONArray;
import org.json.JSONObject;
import org.tensorflow.lite.DataType;
import org.tensorflow.lite.Delegate;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.Tensor;

/**
 * The app's bundled models ({@code make android-models}) on Android's own TFLite, for the tests of this
 * package.
 */
final class TestModels {
  private TestModels() {}

  /** Every compressed model. */
  static List<File> compressed() throws IOException {
    return files("file", null);
  }

  /** The first compressed model of a kind: "float32" or "int8". */
  static File compressed(String activations) throws IOException {
    return files("file", activations).get(0);
  }

  /** A plain model, where there is nothing for the delegate. */
  static File dense() throws IOException {
    return files("dense_file", null).get(0);
  }

  private static List<File> files(String key, String activations) throws IOException {
    File directory = new File(String.valueOf(System.getProperty("dgms.models.dir")));
    File list = new File(directory, "models.json");
    if (!list.isFile()) {
      throw new IllegalStateException("-Ddgms.models.dir must name the folder that `make android-models` has"
          + " made. Received: " + directory);
    }
    String json = new String(Files.readAllBytes(list.toPath()), StandardCharsets.UTF_8);
    JSONArray models = new JSONObject(json).getJSONArray("models");
    List<File> files = new ArrayList<>();
    for (int i = 0; i < models.length(); i++) {
      JSONObject model = models.getJSONObject(i);
      if (activations == null || activations.equals(model.getString("activations"))) {
        files.add(new File(directory, model.getString(key)));
      }
    }
    return files;
  }

  /** An interpreter that runs what the delegates leave by TFLite's own plain kernels. */
  static Interpreter open(File model, Delegate... delegates) {
    ShimLoader.load();
    Interpreter.Options options = new Interpreter.Options().setUseXNNPACK(false).setNumThreads(1);
    for (Delegate delegate : delegates) {
      options.addDelegate(delegate);
    }
    return new Interpreter(model, options);
  }

  /** The first output for a seeded random input, as numbers: floats, or int8 values. */
  static double[] run(Interpreter interpreter, long seed) {
    ByteBuffer input = bufferOf(interpreter.getInputTensor(0));
    Random random = new Random(seed);
    if (interpreter.getInputTensor(0).dataType() == DataType.FLOAT32) {
      while (input.hasRemaining()) {
        input.putFloat((float) random.nextGaussian());
      }
    } else {
      while (input.hasRemaining()) {
        input.put((byte) random.nextInt());
      }
    }
    input.rewind();
    ByteBuffer output = bufferOf(interpreter.getOutputTensor(0));
    interpreter.run(input, output);
    output.rewind();
    boolean isFloat = interpreter.getOutputTensor(0).dataType() == DataType.FLOAT32;
    double[] values = new double[interpreter.getOutputTensor(0).numElements()];
    for (int i = 0; i < values.length; i++) {
      values[i] = isFloat ? output.getFloat() : output.get();
    }
    return values;
  }

  /** The same by TFLite's own kernels alone. */
  static double[] reference(File model, long seed) {
    try (Interpreter interpreter = open(model)) {
      return run(interpreter, seed);
    }
  }

  /**
   * The layers whose time a counter holds: those of a chain ({@code "chain(3) f32_14x32_avx512"}), one, or
   * none (the other operators multiply nothing).
   */
  static int layersOf(NodeCounter counter) {
    if (counter.macs() == 0) {
      return 0;
    }
    Matcher chain = Pattern.compile("chain\\((\\d+)\\) .*").matcher(counter.kernel());
    return chain.matches() ? Integer.parseInt(chain.group(1)) : 1;
  }

  private static ByteBuffer bufferOf(Tensor tensor) {
    return ByteBuffer.allocateDirect(tensor.numBytes()).order(ByteOrder.nativeOrder());
  }
}
