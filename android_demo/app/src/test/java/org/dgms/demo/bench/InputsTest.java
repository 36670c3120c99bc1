package org.dgms.demo.bench;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;
import org.tensorflow.lite.DataType;
import org.tensorflow.lite.Tensor;

/** Inputs for tensors of every type; the bundled models have float32 and int8 ones only. */
public class InputsTest {
  @Rule public final TemporaryFolder folder = new TemporaryFolder();

  private static final int COUNT = 4000;

  private static TensorSpec tensor(DataType type, float scale, int zeroPoint) {
    return new TensorSpec(new Described(type, COUNT, scale, zeroPoint));
  }

  private Inputs random(TensorSpec... specs) throws Exception {
    return Inputs.of(ModelSpec.ofFile(folder.getRoot()), Arrays.asList(specs), 3);
  }

  private static double[] values(Inputs inputs, int input, int position, TensorSpec target) {
    ByteBuffer buffer = target.newBuffer();
    inputs.write(input, position, target, buffer);
    double[] values = new double[target.elements()];
    for (int i = 0; i < values.length; i++) {
      values[i] = target.element(buffer, i);
    }
    return values;
  }

  @Test
  public void eightBitTypesUseTheirWholeRange() throws Exception {
    TensorSpec int8 = tensor(DataType.INT8, 0.1f, 3);
    double[] a = values(random(int8), 0, 0, int8);
    assertEquals(-128, Statistics.minimum(a), 0); // of 4,000: missed once in 6 million
    assertEquals(127, Statistics.maximum(a), 0);
    TensorSpec uint8 = tensor(DataType.UINT8, 0, 0);
    double[] b = values(random(uint8), 0, 0, uint8);
    assertEquals(0, Statistics.minimum(b), 0);
    assertEquals(255, Statistics.maximum(b), 0);
  }

  @Test
  public void widerIntegersAreZeroOrOne() throws Exception {
    for (DataType type : new DataType[] {DataType.INT16, DataType.INT32, DataType.INT64, DataType.BOOL}) {
      TensorSpec spec = tensor(type, 0, 0);
      double[] values = values(random(spec), 0, 0, spec);
      assertEquals(0, Statistics.minimum(values), 0);
      assertEquals(1, Statistics.maximum(values), 0);
    }
  }

  @Test
  public void inputsAndTensorsDiffer() throws Exception {
    TensorSpec spec = tensor(DataType.FLOAT32, 0, 0);
    Inputs inputs = random(spec, spec);
    assertEquals(16, inputs.count());
    double[] first = values(inputs, 0, 0, spec);
    assertTrue(!Arrays.equals(first, values(inputs, 1, 0, spec)));
    assertTrue(!Arrays.equals(first, values(inputs, 0, 1, spec)));
    assertArrayEquals(first, values(inputs, 0, 0, spec), 0);
  }

  @Test
  public void textsCannotBeMadeUp() {
    TensorSpec text = tensor(DataType.STRING, 0, 0);
    BenchmarkException e = assertThrows(BenchmarkException.class, () -> random(text));
    assertEquals(BenchmarkException.Reason.MODEL_UNSUPPORTED, e.reason());
    assertEquals("a model's inputs must be numbers. Received: string [4000]", e.getMessage());
  }

  @Test
  public void anotherEncodingGetsTheSameRealValues() throws Exception {
    TensorSpec int8 = tensor(DataType.INT8, 0.5f, -1);
    TensorSpec finer = tensor(DataType.INT16, 0.25f, 10);
    TensorSpec real = tensor(DataType.FLOAT32, 0, 0);
    Inputs inputs = random(int8);
    double[] steps = values(inputs, 0, 0, int8);
    double[] inFinerSteps = values(inputs, 0, 0, finer);
    double[] reals = values(inputs, 0, 0, real);
    for (int i = 0; i < COUNT; i++) {
      assertEquals((steps[i] + 1) * 0.5, reals[i], 0);
      assertEquals(reals[i], (inFinerSteps[i] - 10) * 0.25, 0);
    }
  }

  @Test
  public void coarserEncodingsRoundAndLimit() throws Exception {
    TensorSpec real = tensor(DataType.FLOAT32, 0, 0);
    TensorSpec coarse = tensor(DataType.INT8, 0.01f, 0); // up to 1.27, which one normal value in ten exceeds
    Inputs inputs = random(real);
    double[] reals = values(inputs, 0, 0, real);
    double[] steps = values(inputs, 0, 0, coarse);
    int limited = 0;
    for (int i = 0; i < COUNT; i++) {
      double exact = reals[i] / coarse.step();
      // The real value was rounded to float, hence a little more than half a step.
      assertEquals(Math.max(-128, Math.min(127, exact)), steps[i], 0.5 + 1e-4);
      limited += steps[i] == 127 ? 1 : 0;
    }
    assertTrue("" + limited, limited > COUNT / 20);
  }

  @Test
  public void valuesThatMeanNothingElsewhereAreRefused() throws Exception {
    Inputs indices = random(tensor(DataType.INT32, 0, 0));
    TensorSpec real = tensor(DataType.FLOAT32, 0, 0);
    assertThrows(IllegalArgumentException.class, () -> values(indices, 0, 0, real));
    TensorSpec shorter = new TensorSpec(new Described(DataType.INT32, COUNT - 1, 0, 0));
    assertThrows(IllegalArgumentException.class, () -> values(indices, 0, 0, shorter));
    assertThrows(IllegalArgumentException.class, () -> values(indices, 0, 1, real)); // a second input
  }

  @Test
  public void elementsOfEveryTypeSurvive() {
    List<DataType> types =
        Arrays.asList(
            DataType.FLOAT32, DataType.INT8, DataType.UINT8, DataType.INT16, DataType.INT32, DataType.INT64);
    for (DataType type : types) {
      TensorSpec spec = tensor(type, 0, 0);
      ByteBuffer buffer = spec.newBuffer();
      spec.putElement(buffer, COUNT - 1, 100);
      assertEquals(type.name(), 100, spec.element(buffer, COUNT - 1), 0);
      assertEquals(type.name(), 0, spec.element(buffer, COUNT - 2), 0);
    }
  }

  /** What TFLite would say of a tensor. */
  private static final class Described implements Tensor {
    private final DataType type;
    private final int elements;
    private final QuantizationParams quantisation;

    Described(DataType type, int elements, float scale, int zeroPoint) {
      this.type = type;
      this.elements = elements;
      this.quantisation = new QuantizationParams(scale, zeroPoint);
    }

    @Override
    public DataType dataType() {
      return type;
    }

    @Override
    public int numDimensions() {
      return 1;
    }

    @Override
    public int numBytes() {
      return type == DataType.STRING ? 0 : elements * (type == DataType.BOOL ? 1 : type.byteSize());
    }

    @Override
    public int numElements() {
      return elements;
    }

    @Override
    public int[] shape() {
      return new int[] {elements};
    }

    @Override
    public int[] shapeSignature() {
      return shape();
    }

    @Override
    public int index() {
      return 0;
    }

    @Override
    public String name() {
      return "tensor";
    }

    @Override
    public QuantizationParams quantizationParams() {
      return quantisation;
    }

    @Override
    public ByteBuffer asReadOnlyBuffer() {
      throw new UnsupportedOperationException("a description has no data");
    }
  }
}
