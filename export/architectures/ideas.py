"""What each family's paper is about, in three lines of ours: the problem, the idea, what to know of it today."""

from collections.abc import Mapping
from types import MappingProxyType

IDEAS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "LeNet": (
            "Handwritten characters are read from pixels by one trained network, without features made by hand.",
            "Convolutions share weights over the image, pooling makes places matter less, dense layers decide.",
            "Still the smallest network worth serving: some microseconds an image, and enough for digits.",
        ),
        "AlexNet": (
            "A large convolutional network on two GPUs won ImageNet 2012 by ten points of top-5 error.",
            "Rectifiers instead of tanh, dropout, augmentation, and responses normalized across channels.",
            "Nine tenths of its weights are in two dense layers, which makes it large and not slow.",
        ),
        "ZFNet": (
            "Deconvolutions show what each layer of AlexNet reacts to, and where it wastes its first filters.",
            "So the first filters shrink from 11x11 to 7x7 and step by 2, which keeps finer detail.",
            "Won ImageNet 2013; its way of looking into networks outlived the network.",
        ),
        "Network in Network": (
            "A linear filter is a weak model of a patch: put a small network at every pixel instead.",
            "That network is a pair of 1x1 convolutions; averaged maps replace the dense layers at the end.",
            "Both ideas are in nearly every later network. Here as published for 32x32 images.",
        ),
        "VGG": (
            "How far does depth alone go? Eleven to nineteen layers, and nothing but 3x3 convolutions.",
            "Two 3x3 see as much as one 5x5, with fewer weights and a rectifier more.",
            "Plain, and good at features for other tasks, but the slowest and largest for its accuracy.",
        ),
        "Inception v1": (
            "Find a deeper and wider network that costs no more: twelve times fewer weights than AlexNet.",
            "Each module looks at 1x1, 3x3 and 5x5 at once, behind 1x1 that narrow what they look at.",
            "Won ImageNet 2014. Trained with two more heads in its middle; the answer comes from the last one.",
        ),
        "Inception v2": (
            "A layer's inputs shift while those before it learn, which makes training slow and careful.",
            "Batch normalization keeps mean and variance where they are, and a bias and a scale are learnt.",
            "Reached the accuracy of GoogLeNet in a fourteenth of the steps; its norms fold away when served.",
        ),
        "Inception v3": (
            "Rules for scaling Inception: no bottleneck early, large filters split, width and depth together.",
            "5x5 become two 3x3, and 7x7 become 1x7 and 7x1; labels are smoothed.",
            "At 299x299 accurate for its cost, with many small branches that GPUs like less.",
        ),
        "Inception v4": (
            "What is Inception capable of without residual connections, once its design is made uniform?",
            "Three kinds of modules, each repeated, and two that halve the image, behind a branched stem.",
            "Matches its residual siblings, which train faster.",
        ),
        "Inception-ResNet v1": (
            "Do residual connections help Inception? They make its training much faster.",
            "Each module's branches are joined, widened by 1x1, scaled down and added to its input.",
            "At the cost of Inception v3. Best known as the network of FaceNet, as which it is built here.",
        ),
        "Inception-ResNet v2": (
            "The larger of the two residual Inceptions, at the cost of Inception v4.",
            "Residuals are scaled by a tenth to a third before they are added, without which wide ones diverge.",
            "Among the most accurate of its time; slow on CPUs.",
        ),
        "ResNet": (
            "Deeper plain networks get worse even on the training images: they are harder to optimize.",
            "Each block learns what to add to its input, so that doing nothing is easy; 1x1 narrow its 3x3.",
            "Won ImageNet 2015 with 152 layers. ResNet-50 is what everything is still compared with.",
        ),
        "ResNet V2": (
            "What passes from block to block should be the sum alone, with nothing on its way.",
            "Batch norm and rectifier come before each convolution and not after the addition.",
            "Made a thousand layers trainable; at fifty, a point more than ResNet.",
        ),
        "ResNeXt": (
            "Beside depth and width there is a third size: into how many groups a block is split.",
            "The bottleneck's 3x3 becomes 32 groups that do not see each other's channels.",
            "More accurate than ResNet at the same cost on paper; grouped convolutions are slow on CPUs.",
        ),
        "Wide ResNet": (
            "Very deep networks reuse features ever less: widen the blocks instead.",
            "Bottlenecks whose 3x3 has twice the channels, with the depth of ResNet-50.",
            "As accurate as networks several times as deep, and better at keeping hardware busy.",
        ),
        "SENet": (
            "Channels are not all of the same use for every image.",
            "Each block averages its channels over the image, and from that weighs each between 0 and 1.",
            "Won ImageNet 2017. Costs next to no multiply-adds; MobileNetV3 and EfficientNet took it over.",
        ),
        "SqueezeNet": (
            "AlexNet's accuracy with a fiftieth of its weights, so that a network fits on a chip or a slow line.",
            "Fire modules: a few 1x1 squeeze, then 1x1 and 3x3 expand; the image shrinks late.",
            "Five megabytes, but not fast for its accuracy: MobileNets are.",
        ),
        "Xception": (
            "Inception's branches assume that channels and places can be looked at apart; go all the way.",
            "Every module is a depthwise convolution and a 1x1, with residual connections around pairs.",
            "Better than Inception v3 with as many weights.",
        ),
        "DenseNet": (
            "If short ways through a network help, connect each layer with all that follow.",
            "Each layer adds a few channels to all that came before it; 1x1 halve them between blocks.",
            "Few weights for its accuracy, but much memory traffic: slower than its multiply-adds say.",
        ),
        "MobileNet V1": (
            "A family for phones, with two numbers to choose from speed and accuracy: width and image size.",
            "Each 3x3 convolution is split into one by channel and a 1x1 across them, at a ninth of the cost.",
            "Simple and easy to quantize. --alpha chooses its width.",
        ),
        "MobileNet V2": (
            "Narrow layers lose information in rectifiers, and wide ones cost.",
            "Inverted residuals: narrow ends, which are added, a wide depthwise middle, no rectifier at the end.",
            "The block of most mobile networks since. --alpha chooses its width.",
        ),
        "MobileNet V3": (
            "A search finds the blocks for a phone's latency, and hands finish the expensive ends.",
            "Squeeze-and-excitation, hard-swish in the later layers, a head that works on one pixel.",
            "The fastest here for its accuracy on CPUs in float32; less at ease with int8. Takes --alpha.",
        ),
        "ShuffleNet V2": (
            "Multiply-adds do not tell speed: memory traffic, groups and branches cost as well.",
            "Half of the channels skip each block, and a shuffle mixes the halves after it.",
            "Designed by four rules that were measured on devices, and fast where shuffles are.",
        ),
        "MnasNet": (
            "Search for a network with its measured latency on a phone in the objective.",
            "Each stage gets a block of its own: kernel, expansion, repeats; the search is over stages.",
            "As accurate as MobileNetV2 1.4 at half the time; EfficientNet-B0 came out of the same search space.",
        ),
        "NASNet": (
            "Search a small cell on CIFAR-10, and stack it for ImageNet.",
            "Two cells, one of which halves the image, of separable convolutions and poolings, joined.",
            "Accurate at its time; hundreds of small operations make it slow to load and to run.",
        ),
        "EfficientNet": (
            "Depth, width and image size should grow together, at a fixed ratio.",
            "A searched base network, of inverted residuals with squeeze-and-excitation, enlarged seven times.",
            "Accuracy for few multiply-adds; swish and large images make it slower than they say.",
        ),
        "EfficientNet-Lite": (
            "EfficientNet for devices without kernels for swish, and for int8.",
            "No squeeze-and-excitation, ReLU6 for swish, stem and top not enlarged.",
            "Loses about two points and quantizes well. Its weights come with pip: the way to start here.",
        ),
        "EfficientNet V2": (
            "EfficientNet trains slowly: large images, depthwise convolutions early, all stages scaled alike.",
            "Ordinary 3x3 in the first stages, smaller kernels, images and regularization that grow in training.",
            "Better than V1 at each cost, and faster on what runs it.",
        ),
        "ViT": (
            "How far does a plain transformer get on images, with next to nothing of convolutions built in?",
            "16x16 patches become tokens, a class token joins them, twelve blocks of attention answer from it.",
            "Needs large data or given weights; its cost is in dense layers, which GPUs and bfloat16 like.",
        ),
        "ConvNeXt": (
            "What of a vision transformer's success is attention, and what is everything around it?",
            "A ResNet with a transformer's choices: 7x7 depthwise, one norm and one GELU a block.",
            "Convolutions as good as Swin transformers. Likes bfloat16; int8 costs it accuracy.",
        ),
        "CLIP": (
            "Classes chosen ahead of training are all that a classifier knows, and labelled images are few.",
            "An encoder of images and one of texts learn which of 400 million captions goes with which image.",
            "Answers with labels that a request brings. Its top-1 is without one image of ImageNet learnt.",
        ),
    }
)
