"""The architectures that deep-learning lectures name, one readable file each.

Where PyTorch's model library has the architecture, names of classes, functions and layers are the same, so that its
checkpoints load: `resnet18(weights="resnet18.pth")`.

Each name's source is the paper that it builds; what differs from it, or goes beyond it, is said. `forward` takes and
gives what the class says, with → between. Functions take `weights`, the path of a checkpoint or a state dict (None:
random ones; ValueError for a name to be downloaded), and `progress`, which is accepted as in PyTorch's library; other
keywords are the class's.
"""

from .alexnet import AlexNet, AlexNet2012, ZFNet, alexnet
from .autoencoder import Autoencoder, ConvAutoencoder, sparsity_penalty
from .captioner import Captioner
from .char_rnn import CharRNN, truncated_bptt
from .densenet import DenseNet, densenet121, densenet161, densenet169, densenet201
from .dqn import DQN, QNetwork, ReplayMemory
from .draw import DRAW
from .environments import CartPole, GridWorld
from .fcn import FCN
from .fractalnet import FractalNet
from .gan import Discriminator, Generator, gradient_penalty
from .googlenet import GoogLeNet, GoogLeNetOutputs, InceptionV2, googlenet
from .gpt import GPT, GPTConfig
from .highway import Highway, HighwayLayer
from .hopfield import Hopfield
from .inception import Inception3, InceptionOutputs, InceptionResNetV2, inception_v3
from .lenet import LeNet5
from .memory_network import MemoryNetwork
from .mlp import MLP
from .mobilenet import MobileNetV1, MobileNetV2, mobilenet_v1, mobilenet_v2
from .neural_turing_machine import NeuralTuringMachine
from .nin import NiN
from .perceptron import Perceptron
from .perceptual import PerceptualLoss, gram_matrix
from .policy_gradient import ActorCritic, Policy, actor_critic_loss, reinforce_loss, run_episode
from .pose_machine import ConvolutionalPoseMachine
from .preact_resnet import PreActResNet, preact_resnet, resnet_of_resnets, stochastic_depth_resnet, wide_resnet
from .progressive import ProgressiveNet
from .rbm import RBM, hamming
from .reconstruction import BackProjection, FilteredBackProjection
from .recursive import RecursiveNet
from .resnet import (
    ResNet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from .sagan import SADiscriminator, SAGenerator, SelfAttention2d, discriminator_hinge_loss
from .senet import se_resnet18, se_resnet50
from .seq2seq import Attention, Seq2Seq
from .siamese import Siamese, contrastive_loss
from .spatial_transformer import SpatialTransformer, SpatialTransformerNet
from .transformer import PositionalEncoding, TranslationTransformer, noam
from .unet import UNet
from .vae import VAE, vae_loss
from .variational_network import VariationalNetwork
from .vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from .wavenet import WaveNet
from .word2vec import SkipGram
from .yolo import YOLO, YOLOHead, YOLOLoss

__all__ = [
    "DQN",
    "DRAW",
    "FCN",
    "GPT",
    "MLP",
    "RBM",
    "VAE",
    "VGG",
    "YOLO",
    "ActorCritic",
    "AlexNet",
    "AlexNet2012",
    "Attention",
    "Autoencoder",
    "BackProjection",
    "Captioner",
    "CartPole",
    "CharRNN",
    "ConvAutoencoder",
    "ConvolutionalPoseMachine",
    "DenseNet",
    "Discriminator",
    "FilteredBackProjection",
    "FractalNet",
    "GPTConfig",
    "Generator",
    "GoogLeNet",
    "GoogLeNetOutputs",
    "GridWorld",
    "Highway",
    "HighwayLayer",
    "Hopfield",
    "Inception3",
    "InceptionOutputs",
    "InceptionResNetV2",
    "InceptionV2",
    "LeNet5",
    "MemoryNetwork",
    "MobileNetV1",
    "MobileNetV2",
    "NeuralTuringMachine",
    "NiN",
    "Perceptron",
    "PerceptualLoss",
    "Policy",
    "PositionalEncoding",
    "PreActResNet",
    "ProgressiveNet",
    "QNetwork",
    "RecursiveNet",
    "ReplayMemory",
    "ResNet",
    "SADiscriminator",
    "SAGenerator",
    "SelfAttention2d",
    "Seq2Seq",
    "Siamese",
    "SkipGram",
    "SpatialTransformer",
    "SpatialTransformerNet",
    "TranslationTransformer",
    "UNet",
    "VariationalNetwork",
    "WaveNet",
    "YOLOHead",
    "YOLOLoss",
    "ZFNet",
    "actor_critic_loss",
    "alexnet",
    "contrastive_loss",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "discriminator_hinge_loss",
    "googlenet",
    "gradient_penalty",
    "gram_matrix",
    "hamming",
    "inception_v3",
    "mobilenet_v1",
    "mobilenet_v2",
    "noam",
    "preact_resnet",
    "reinforce_loss",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet_of_resnets",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "run_episode",
    "se_resnet18",
    "se_resnet50",
    "sparsity_penalty",
    "stochastic_depth_resnet",
    "truncated_bptt",
    "vae_loss",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "wide_resnet",
    "wide_resnet50_2",
    "wide_resnet101_2",
]
