package org.dgms.demo.bench;

import java.io.File;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** A model to run: its file, and what is known about it. Immutable. */
public final class ModelSpec {
  private static final String SUFFIX = ".tflite";

  private final String name;
  private final String title;
  private final File file;
  private final File denseFile;
  private final Integer bits;
  private final String activations;
  private final Double top1;
  private final Integer top1Images;
  private final List<String> labels;
  private final Input input;
  private final List<Sample> samples;

  private ModelSpec(Builder b) {
    name = b.name;
    title = b.title;
    file = b.file;
    denseFile = b.denseFile;
    bits = b.bits;
    activations = b.activations;
    top1 = b.top1;
    top1Images = b.top1Images;
    labels = Collections.unmodifiableList(new ArrayList<String>(b.labels));
    input = b.input;
    samples = Collections.unmodifiableList(new ArrayList<Sample>(b.samples));
  }

  /** A file about which nothing else is known; its name is the file's without {@code .tflite}. */
  public static ModelSpec ofFile(File file) {
    return ofFiles(file, null);
  }

  /**
   * The same with a dense twin.
   *
   * @param denseFile a plain file of the same network, or null
   */
  public static ModelSpec ofFiles(File file, File denseFile) {
    String name = file.getName();
    if (name.endsWith(SUFFIX)) {
      name = name.substring(0, name.length() - SUFFIX.length());
    }
    Builder builder = new Builder(name.isEmpty() ? file.getName() : name, file);
    builder.denseFile = denseFile;
    return builder.build();
  }

  /** Short name, unique in its catalog: letters, digits, {@code . _ -}. */
  public String name() {
    return name;
  }

  /** A name for people. */
  public String title() {
    return title;
  }

  /** The model's file. */
  public File file() {
    return file;
  }

  /** The dense twin's file, or null. */
  public File denseFile() {
    return denseFile;
  }

  /** Bits of a weight, or null if unknown. */
  public Integer bits() {
    return bits;
  }

  /** What the file computes in: "float32" or "int8"; null if unknown. */
  public String activations() {
    return activations;
  }

  /** Share of test images that the model classifies rightly, measured when it was made: 0 to 1, or null. */
  public Double top1() {
    return top1;
  }

  /** Number of images behind {@link #top1}, or null. */
  public Integer top1Images() {
    return top1Images;
  }

  /** Names of the classes, by index; empty if unknown. */
  public List<String> labels() {
    return labels;
  }

  /** How an image becomes the model's input; null if unknown. */
  public Input input() {
    return input;
  }

  /** Images with their right classes; may be empty. */
  public List<Sample> samples() {
    return samples;
  }

  /** Whether sample images are there and it is known how they become inputs. */
  public boolean hasSamples() {
    return input != null && !samples.isEmpty();
  }

  /** How an image becomes an input tensor: value = pixel * scale + offset, for pixels of 0 to 255. */
  public static final class Input {
    private final int[] shape;
    private final String dtype;
    private final double scale;
    private final double offset;
    private final int channels;

    Input(int[] shape, String dtype, double scale, double offset, int channels) {
      this.shape = shape.clone();
      this.dtype = dtype;
      this.scale = scale;
      this.offset = offset;
      this.channels = channels;
    }

    /** Batch (1), height, width, channels. */
    public int[] shape() {
      return shape.clone();
    }

    /** Pixel rows. */
    public int height() {
      return shape[1];
    }

    /** Pixel columns. */
    public int width() {
      return shape[2];
    }

    /** 1 (grey) or 3 (red, green, blue). */
    public int channels() {
      return channels;
    }

    /** "float32" or "int8"; an int8 value is rounded to the nearest integer, halves to even. */
    public String dtype() {
      return dtype;
    }

    /** The tensor's element for a pixel of 0 to 255, before rounding. */
    public double valueOf(int pixel) {
      return pixel * scale + offset;
    }
  }

  /** An image of exactly the input's size and its right class. */
  public static final class Sample {
    private final File file;
    private final Integer label;

    Sample(File file, Integer label) {
      this.file = file;
      this.label = label;
    }

    /** A PNG, 8 bits a channel, grey or RGB. */
    public File file() {
      return file;
    }

    /** Index of the right class, or null if unknown. */
    public Integer label() {
      return label;
    }
  }

  /** Collects a catalog's entry; only {@link ModelCatalog} has more than files to tell. */
  static final class Builder {
    final String name;
    final File file;
    String title;
    File denseFile;
    Integer bits;
    String activations;
    Double top1;
    Integer top1Images;
    List<String> labels = Collections.emptyList();
    Input input;
    List<Sample> samples = Collections.emptyList();

    Builder(String name, File file) {
      this.name = name;
      this.file = file;
      this.title = name;
    }

    ModelSpec build() {
      return new ModelSpec(this);
    }
  }
}
